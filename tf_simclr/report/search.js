const PAGE = 60; // images that are added at a time
const { names, classes, labels, rests, dimensions, count, columns, size, shapes } = content;
const features = Int8Array.from(atob(content.features), letter => letter.charCodeAt(0));
const marks = new Set();
const assigned = new Map(); // the class of each image that was given one
const past = []; // what was searched before
let current, ranking, cosines, numVisible;
let isSaved = true;

// All images by their squared distance to one, in whole numbers: nothing is rounded.
const rank = image => {
  const first = image * dimensions;
  const keys = new Float64Array(count); // distance and number in one, to be sorted at once
  const distances = new Float64Array(count);
  for (let other = 0; other < count; other++) {
    let distance = rests[image] + rests[other];
    for (let i = 0, at = other * dimensions; i < dimensions; i++, at++) {
      const difference = features[first + i] - features[at];
      distance += difference * difference;
    }
    distances[other] = distance;
    keys[other] = distance * count + other;
  }
  keys.sort();
  const others = Array.from(keys, key => key % count).filter(other => other !== image);
  const scale = content.step ** 2 / 2;
  return [others, others.map(other => 1 - scale * distances[other])];
};

const labelOf = image => assigned.get(image) ?? classes[labels[image]] ?? "";
const shot = image => {
  const width = shapes[2 * image], height = shapes[2 * image + 1];
  if (!width) return make("span", { class: "shot none" }, names[image]);
  const perSheet = columns * columns, position = image % perSheet;
  const style = `--x:${position % columns};--y:${Math.floor(position / columns)};--w:${width / size};--h:${height / size};--columns:${columns}`;
  return make("span", { class: `shot sheet-${Math.floor(image / perSheet)}`, style });
};

const setMark = (image, isMarked) => {
  if (isMarked) marks.add(image);
  else marks.delete(image);
  for (const item of byId("results").children) {
    const { button, box } = item;
    button.setAttribute("aria-pressed", marks.has(item.image));
    box.checked = marks.has(item.image);
  }
  renderMarks();
};

const item = (image, cosine) => {
  const label = labelOf(image);
  const words = `${names[image]}${label ? `, ${label}` : ""}, similarity ${cosine.toFixed(2)}`;
  const button = make("button", { type: "button", class: "hit", title: words, "aria-label": words, "aria-pressed": marks.has(image), tabindex: -1, click: () => search(image) }, shot(image));
  const box = make("input", { type: "checkbox", tabindex: -1, "aria-label": `Mark ${names[image]}`, change: event => setMark(image, event.target.checked) });
  box.checked = marks.has(image);
  const beneath = make("small", {}, `${cosine.toFixed(2)} `, make("b", {}, label));
  const element = make("li", {}, button, make("label", { class: "mark" }, box), beneath);
  return Object.assign(element, { image, button, box });
};
const addResults = () => {
  const next = ranking.slice(numVisible, numVisible + PAGE);
  byId("results").append(...next.map((image, index) => item(image, cosines[numVisible + index])));
  numVisible += next.length;
  byId("more").hidden = numVisible >= ranking.length;
  byId("results").querySelector("button")?.setAttribute("tabindex", "0");
};

const show = image => {
  const hadFocus = byId("results").contains(document.activeElement);
  current = image;
  const query = content.queries.find(each => each.image === image);
  [ranking, cosines] = rank(image);
  if (query) { // those of the full features first
    const first = new Set(query.neighbors);
    const rest = ranking.map((other, index) => [other, cosines[index]]).filter(([other]) => !first.has(other));
    ranking = [...query.neighbors, ...rest.map(([other]) => other)];
    cosines = [...query.cosines, ...rest.map(([, cosine]) => cosine)];
  }
  numVisible = 0;
  byId("results").replaceChildren();
  addResults();
  render();
  if (hadFocus) focusOn(0);
};
const search = image => {
  if (image === current) return;
  past.push(current);
  show(image);
  scrollTo(0, 0);
};
const back = () => {
  if (past.length) show(past.pop());
};

const focusOn = index => {
  const buttons = [...byId("results").querySelectorAll(".hit")];
  const button = buttons[Math.max(0, Math.min(index, buttons.length - 1))];
  if (!button) return;
  for (const each of buttons) each.setAttribute("tabindex", each === button ? 0 : -1);
  button.focus();
};

const renderMarks = () => {
  byId("marked").textContent = `${marks.size} marked`;
  byId("assign").disabled = !marks.size;
  byId("clear").disabled = !marks.size;
  const numNew = assigned.size;
  byId("save").textContent = numNew ? `labels.csv (${numNew} new)` : "labels.csv";
  byId("save").disabled = !numNew;
  const numKnown = content.known.length;
  byId("known-label").hidden = !numKnown;
  byId("known-text").textContent = `with the ${counted(numKnown, "label")} known before`;
  const all = [...new Set([...classes, ...assigned.values()])];
  byId("classes").replaceChildren(...all.map(name => make("option", { value: name })));
};
const render = () => {
  byId("picture").replaceChildren(shot(current));
  byId("name").textContent = names[current];
  byId("label").textContent = labelOf(current) ? `class ${labelOf(current)}` : "no label";
  byId("status").textContent = `The most similar of ${counted(count, "image")} first; the numbers are cosines. A click shows what is most like an image, a tick marks it.`;
  byId("back").hidden = !past.length;
  for (const button of byId("queries").children) button.setAttribute("aria-pressed", button.image === current);
  renderMarks();
};

const assign = () => {
  const name = tidy(byId("class").value);
  if (!name || !marks.size) return byId("class").focus();
  for (const image of marks) assigned.set(image, name);
  marks.clear();
  isSaved = false;
  const number = numVisible;
  byId("results").replaceChildren();
  numVisible = 0;
  while (numVisible < number) addResults();
  render();
};
const save = () => {
  const all = new Map(byId("known").checked ? content.known : []);
  for (const [image, name] of assigned) all.set(names[image], name);
  download("labels.csv", labelsFile(all));
  isSaved = true;
};

addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event)) return;
  const buttons = [...byId("results").querySelectorAll(".hit")];
  const index = buttons.indexOf(document.activeElement);
  const inRow = buttons.filter(button => button.offsetTop === buttons[0].offsetTop && button.parentElement.offsetTop === buttons[0].parentElement.offsetTop).length;
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -inRow, ArrowDown: inRow }[event.key];
  if (step) {
    event.preventDefault();
    focusOn(index < 0 ? 0 : index + step);
  } else if (event.key === " " && index >= 0) {
    event.preventDefault();
    const { image } = buttons[index].parentElement;
    setMark(image, !marks.has(image));
  } else if (event.key === "Backspace") {
    event.preventDefault();
    back();
  }
});
// Firefox presses a button when Space is let go.
addEventListener("keyup", event => {
  if (event.key === " " && event.target.matches?.(".hit")) event.preventDefault();
});
byId("more").addEventListener("click", addResults);
byId("back").addEventListener("click", back);
byId("save").addEventListener("click", save);
byId("clear").addEventListener("click", () => {
  for (const image of [...marks]) setMark(image, false);
});
byId("marks").addEventListener("submit", event => {
  event.preventDefault();
  assign();
});
addEventListener("beforeunload", event => {
  if (!isSaved) event.preventDefault();
});

document.body.classList.toggle("small", size <= 32);
byId("queries").append(...content.queries.map(({ image }) => Object.assign(make("button", { type: "button", title: names[image], "aria-label": names[image], click: () => search(image) }, shot(image)), { image })));
byId("queries").hidden = content.queries.length < 2;
show(content.queries[0].image);
