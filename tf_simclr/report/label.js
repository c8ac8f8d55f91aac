const NO_CLASS = { none: "none of these", unsure: "not sure", skip: "skipped" };
const KEYS = [..."123456789abcdefghijklmnopqrstuvwxyz"];
const MANY = 9; // classes, from which there is a field to search them
const questions = content.questions;

// events: {question, answer: number of a class or a key of NO_CLASS, along: [names]}, the last one
// last; all else follows from them, so undoing one is dropping it.
let state = { classes: content.classes, events: [], saved: true };
let current = 0; // the question, null after the last one
let along = new Set(); // names that get the same class
let isKept = true;
let found = null; // what `result` has found, until the state changes

const restore = () => {
  found = null;
  try {
    const kept = JSON.parse(localStorage.getItem(content.key));
    if (Array.isArray(kept?.classes) && Array.isArray(kept.events)) state = kept;
  } catch {
    // No storage, which `keep` finds out, or not what was stored: the page begins anew.
  }
};
const keep = () => {
  found = null;
  try {
    localStorage.setItem(content.key, JSON.stringify(state));
  } catch {
    isKept = false;
  }
};

// The labels that were known before, perhaps very many: [name, number of the class], as it may be renamed.
const numbers = new Map(content.classes.map((name, number) => [name, number]));
const known = content.known.map(([name, label]) => [name, numbers.get(label)]);
// What the answers come to: the class of each file, and what was said of each question.
const result = () => found ??= resultOfAnswers();
const resultOfAnswers = () => {
  const labels = new Map(known.map(([name, number]) => [name, state.classes[number]])), answers = new Map(), fresh = new Set(), latest = new Map();
  state.events.forEach((event, index) => event.answer !== "skip" && latest.set(event.question, index));
  for (const [index, { question, answer, along: names }] of state.events.entries()) {
    answers.set(question, answer);
    if (answer === "skip" || latest.get(question) !== index) continue;  // or it was corrected later
    for (const name of [questions[question].name, ...names]) {
      if (typeof answer === "number") labels.set(name, state.classes[answer]);
      else labels.delete(name);
      fresh.add(name);
    }
  }
  return { labels, answers, fresh };
};
const isDone = ({ answers, fresh }, index) => answers.has(index) || fresh.has(questions[index].name);

// The next question without an answer, after a question and then from the first; null: none.
const nextOpen = after => {
  const now = result();
  for (let step = 1; step <= questions.length; step++) {
    const index = (after + step) % questions.length;
    if (!isDone(now, index)) return index;
  }
  return null;
};

// What the last answer to a question has taken along, without what was answered after it.
const takenAlong = index => {
  const answered = state.events.filter(event => event.answer !== "skip");
  const last = answered.findLastIndex(event => event.question === index);
  const later = new Set(answered.slice(last + 1).flatMap(event => [questions[event.question].name, ...event.along]));
  return last < 0 ? [] : answered[last].along.filter(name => !later.has(name));
};
const goTo = index => {
  current = index;
  along = new Set(takenAlong(index));
  if (index === null) byId("overview").open = true;
  render();
};
const changed = () => {
  state.saved = state.events.length === 0;
  keep();
};
const answerWith = answer => {
  if (current === null) return;
  const wasDone = isDone(result(), current);
  if (answer !== "skip" || !wasDone) {
    const names = typeof answer === "number" ? [...along] : [];
    state.events.push({ question: current, answer, along: names });
    changed();
  }
  goTo(nextOpen(current));
};
const undo = () => {
  const last = state.events.pop();
  if (!last) return;
  changed();
  goTo(last.question);
  along = new Set(last.along);
  render();
};
const skippedAgain = () => {
  const { answers, fresh } = result();
  const isOpen = event => answers.get(event.question) === "skip" && !fresh.has(questions[event.question].name);
  state.events = state.events.filter(event => !isOpen(event));
  changed();
  goTo(nextOpen(-1));
};

const complain = text => {
  byId("message").textContent = text;
  byId("message").hidden = !text;
};
const sameName = (a, b) => tidy(a).toLowerCase() === tidy(b).toLowerCase();
const addClass = text => {
  const name = tidy(text);
  const before = state.classes.find(other => other && sameName(other, name));
  complain(before ? `There is a class ${before} already.` : "");
  if (!name || before) return;
  state.classes = [...state.classes, name];
  keep();
  render();
};
const rename = (index, input) => {
  const name = tidy(input.value);
  const before = state.classes.find((other, number) => other && number !== index && sameName(other, name));
  const isUsed = state.events.some(event => event.answer === index) || content.known.some(([, label]) => label === content.classes[index]);
  if (before || (!name && isUsed)) {
    input.setCustomValidity(before ? `There is a class ${before} already.` : "Images have this class: give it a name.");
    input.reportValidity();
    return;
  }
  input.setCustomValidity("");
  state.classes = state.classes.with ? state.classes.with(index, name) : Object.assign([...state.classes], { [index]: name });
  if (isUsed) state.saved = false;
  keep();
  render();
};

const toggleAlong = name => {
  if (!along.delete(name)) along.add(name);
  render();
};
// Those that look the same and have no class yet.
const sameOnes = ({ labels }) => questions[current].neighbors.filter(each => each.same && !labels.has(each.name)).map(each => each.name);
const toggleSame = () => {
  const names = current === null ? [] : sameOnes(result());
  const areAll = names.every(name => along.has(name));
  for (const name of names) areAll ? along.delete(name) : along.add(name);
  render();
};

const save = () => {
  const { labels } = result();
  download("labels.csv", labelsFile(labels));
  state.saved = true;
  keep();
  render();
  byId("saved").textContent = `${counted(labels.size, "label")} in it.`;
};

// [name, number, key] of the classes that have not been taken away. A name of one digit or letter
// is its own key, so that 1 never means another class than "1"; "A" and "a" together have none.
const usedClasses = () => {
  const used = state.classes.map((name, index) => [name, index]).filter(([name]) => name);
  const letters = used.map(([name]) => name.toLowerCase()).filter(name => /^[0-9a-z]$/.test(name));
  const left = KEYS.filter(key => !letters.includes(key));
  const keyOf = name => {
    const letter = name.toLowerCase();
    if (!letters.includes(letter)) return left.shift();
    return letters.indexOf(letter) === letters.lastIndexOf(letter) ? letter : undefined;
  };
  return used.map(([name, index]) => [name, index, keyOf(name)]);
};
const renderClasses = ({ labels }) => {
  const counts = new Map();
  for (const label of labels.values()) counts.set(label, (counts.get(label) ?? 0) + 1);
  const wanted = byId("filter").value.trim().toLowerCase();
  const now = current === null ? undefined : labels.get(questions[current].name);
  const used = usedClasses();
  const buttons = used.map(([name, index, key]) => {
    const parts = [make("span", {}, name), make("span", { class: "count" }, String(counts.get(name) ?? ""))];
    if (key) parts.push(make("kbd", {}, key));
    const words = [name, counted(counts.get(name) ?? 0, "label"), ...(key ? [`key ${key}`] : [])].join(", ");
    return make("button", { type: "button", "aria-label": words, "data-class": index, class: name === now ? "current" : "", click: () => answerWith(index) }, ...parts);
  });
  const focused = document.activeElement.dataset?.class;
  byId("classes").replaceChildren(...buttons.filter((button, position) => used[position][0].toLowerCase().includes(wanted)));
  byId("classes").classList.toggle("several", buttons.length > MANY);
  byId("filter-label").hidden = buttons.length <= MANY;
  if (focused) byId("classes").querySelector(`[data-class="${focused}"]`)?.focus();
  const noneKey = used.some(([, , key]) => key === "0") ? "-" : "0";
  for (const kbd of document.querySelectorAll(".none-key")) kbd.textContent = noneKey;
  byId("panel-title").textContent = buttons.length ? "Which class is it?" : "First: which classes are there?";
};

const renderNeighbors = now => {
  const { neighbors } = questions[current];
  const names = sameOnes(now);
  byId("near").hidden = !neighbors.length;
  byId("along").hidden = !names.length;
  byId("along-text").textContent = names.length === 1 ? "Take along the one that looks the same" : `Take along the ${names.length} that look the same`;
  byId("along").setAttribute("aria-pressed", names.length > 0 && names.every(name => along.has(name)));
  const focused = document.activeElement.dataset?.neighbor;
  const buttons = neighbors.map(({ name, image, same }, index) => {
    const text = now.labels.get(name) ?? (same ? "same?" : "");
    const words = `${name}${same ? ", looks the same" : ""}${now.labels.has(name) ? `, labeled ${now.labels.get(name)}` : ""}`;
    const attributes = { type: "button", "data-neighbor": index, class: same ? "same" : "", title: words, "aria-label": `Take along ${words}`, "aria-pressed": along.has(name) };
    return make("button", { ...attributes, click: () => toggleAlong(name) }, make("img", { src: image, alt: "", draggable: "false" }), make("small", {}, text));
  });
  byId("neighbors").replaceChildren(...buttons);
  if (focused) buttons[focused]?.focus();
};

const renderOverview = ({ labels, answers }) => {
  if (!byId("overview").open) return;
  const buttons = questions.map(({ name, image, cluster }, index) => {
    const text = labels.get(name) ?? NO_CLASS[answers.get(index)] ?? "open";
    const attributes = { type: "button", title: `${name}, cluster ${cluster}`, class: labels.has(name) ? "" : "open", click: () => goTo(index) };
    return make("button", attributes, make("img", { src: image, alt: "", loading: "lazy" }), text);
  });
  byId("all").replaceChildren(...buttons);
};
const renderNames = () => {
  if (!byId("editor").open || byId("names").contains(document.activeElement)) return;
  const inputs = state.classes.map((name, index) => make("input", { value: name, "aria-label": `Name of class ${index + 1}`, change: event => rename(index, event.target), input: event => event.target.setCustomValidity("") }));
  byId("names").replaceChildren(...inputs.filter(input => input.value));
};

const renderEnd = ({ labels, answers }) => {
  const said = [...answers.entries()].filter(([index]) => !labels.has(questions[index].name)).map(([, answer]) => answer);
  const texts = Object.entries(NO_CLASS).map(([key, words]) => [said.filter(answer => answer === key).length, words]).filter(([number]) => number);
  const numLabeled = questions.filter(({ name }) => labels.has(name)).length;
  byId("summary").textContent = [`${numLabeled} of ${counted(questions.length, "image")} labeled`, ...texts.map(([number, words]) => `${number} ${words}`)].join(", ") + ".";
  byId("again").hidden = !said.includes("skip");
  byId("undo-last").disabled = !state.events.length;
};
const renderQuestion = now => {
  const { name, image, why } = questions[current];
  byId("image").src = image;
  byId("image").alt = name;
  byId("name").textContent = name;
  byId("why").textContent = why;
  const answer = now.labels.has(name) ? undefined : now.answers.get(current);
  for (const button of document.querySelectorAll("[data-answer]")) button.classList.toggle("current", button.dataset.answer === answer);
  byId("undo").disabled = !state.events.length;
  renderNeighbors(now);
};

const render = () => {
  const now = result();
  const numDone = questions.filter((_, index) => isDone(now, index)).length;
  const position = current === null ? "" : `${current + 1} of ${questions.length} · `;
  byId("status").textContent = `${position}${numDone} done · ${counted(now.labels.size, "label")}`;
  byId("bar").style.width = `${(100 * numDone) / Math.max(1, questions.length)}%`;
  byId("work").hidden = current === null;
  byId("end").hidden = current !== null;
  byId("unkept").hidden = isKept;
  byId("saved").textContent = state.saved ? "" : "Not downloaded yet.";
  byId("save").disabled = !now.labels.size;
  renderClasses(now);
  if (current === null) renderEnd(now);
  else renderQuestion(now);
  renderOverview(now);
  renderNames();
};

const ACTIONS = {
  0: () => answerWith("none"),
  "-": () => answerWith("none"),
  "?": () => answerWith("unsure"),
  ArrowRight: () => answerWith("skip"),
  Backspace: undo,
  " ": toggleSame,
  "+": () => byId("new").focus(),
  "/": () => byId("filter").focus(),
};
// What a key does. On some keyboards digits are typed with Shift; without it they count as digits,
// never as the sign that is typed: "-" on the key of 6 would be "none of these".
const actionOf = event => {
  const digit = event.shiftKey ? undefined : /^Digit([0-9])$/.exec(event.code)?.[1];
  for (const pressed of digit ? [digit] : [event.key]) {
    const chosen = usedClasses().find(([, , key]) => key === pressed.toLowerCase());
    if (chosen) return () => answerWith(chosen[1]);
    if (ACTIONS[pressed]) return ACTIONS[pressed];
  }
  return null;
};
const withControl = { s: save, z: undo };
addEventListener("keydown", event => {
  if (event.isComposing || event.altKey) return;
  const hasControl = event.ctrlKey || event.metaKey;
  if (isTyping(event) && !(hasControl && event.key === "s")) return;
  if (event.key === " " && isPressing(event)) return;
  const action = hasControl ? withControl[event.key] : actionOf(event);
  if (!action) return;
  event.preventDefault();
  if (!event.repeat) action();
});
// After a click the keys are for the image again.
addEventListener("click", event => {
  if (event.detail && event.target.closest?.("button")) document.activeElement.blur();
});
for (const button of document.querySelectorAll("[data-answer]")) button.addEventListener("click", () => answerWith(button.dataset.answer));
byId("undo").addEventListener("click", undo);
byId("undo-last").addEventListener("click", undo);
byId("again").addEventListener("click", skippedAgain);
byId("along").addEventListener("click", toggleSame);
byId("save").addEventListener("click", save);
byId("overview").addEventListener("toggle", render);
byId("editor").addEventListener("toggle", render);
byId("all").addEventListener("click", () => scrollTo(0, 0));

byId("add").addEventListener("submit", event => {
  event.preventDefault();
  if (!byId("new").value.trim()) byId("new").blur();
  addClass(byId("new").value);
  byId("new").value = "";
});
byId("new").addEventListener("paste", event => {  // a list, a line a class
  const lines = event.clipboardData.getData("text").split(/[\r\n]+/).filter(line => line.trim());
  if (lines.length < 2) return;
  event.preventDefault();
  lines.forEach(addClass);
});
byId("filter").addEventListener("input", render);
byId("filter").addEventListener("keydown", event => {
  const first = byId("classes").querySelector("button");
  if (event.isComposing || event.key !== "Enter" || !first || !byId("filter").value.trim()) return;
  byId("filter").value = "";
  answerWith(Number(first.dataset.class));
});
for (const id of ["new", "filter"]) {
  byId(id).addEventListener("keydown", event => {
    if (event.isComposing || event.key !== "Escape") return;
    event.target.value = "";
    event.target.blur();
    complain("");
    render();
  });
}

addEventListener("storage", event => {  // the page is open twice
  if (event.key !== content.key) return;
  restore();
  goTo(nextOpen(-1));
});
addEventListener("beforeunload", event => {
  if (!state.saved) event.preventDefault();
});

restore();
keep();
goTo(nextOpen(-1));
if (!usedClasses().length) byId("new").focus();
