"use strict";
for (const map of document.querySelectorAll(".map")) {
  const board = map.querySelector("svg"), tip = map.querySelector(".tip"), points = [...board.querySelectorAll("use")];
  const words = points.map(point => point.firstElementChild.textContent);
  let current = -1;
  points.forEach(point => point.firstElementChild.remove());  // else the browser's own tooltip shows as well

  const place = point => {  // in percent of the board
    const name = map.querySelector("[value=b]")?.checked ? "--b" : "--a";
    return point.style.getPropertyValue(name).split(",").map(parseFloat);
  };
  const show = index => {
    points[current]?.classList.remove("current");
    current = index;
    tip.hidden = index < 0;
    if (index < 0) return;
    const point = points[index], image = Number(point.dataset.image), columns = Number(map.dataset.columns), [x, y] = place(point);
    point.classList.add("current");
    const thumb = tip.querySelector(".thumb");
    thumb?.style.setProperty("--x", image % columns);
    thumb?.style.setProperty("--y", Math.floor(image / columns));
    tip.querySelector("p").textContent = words[index];
    const width = board.clientWidth, top = board.getBoundingClientRect().top - tip.parentElement.getBoundingClientRect().top;
    tip.style.left = `${Math.max(0, Math.min(width * x / 100 + 12, width - tip.offsetWidth))}px`;
    tip.style.top = `${top + width * y / 100 + (y > 75 ? -tip.offsetHeight - 12 : 12)}px`;
  };
  const nearest = event => {
    const box = board.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top, scale = box.width / 100;
    let best = -1, least = 22;  // pixels: as much as a finger needs
    points.forEach((point, index) => {
      const [a, b] = place(point), distance = Math.hypot(a * scale - x, b * scale - y);
      if (distance < least && (!map.classList.contains("some") || point.classList.contains("on"))) [best, least] = [index, distance];
    });
    return best;
  };
  board.addEventListener("pointermove", event => show(nearest(event)));
  board.addEventListener("pointerdown", event => show(nearest(event)));
  board.addEventListener("pointerleave", event => { if (event.pointerType === "mouse") show(-1); });
  board.addEventListener("focus", () => { if (board.matches(":focus-visible")) show(Math.max(current, 0)); });
  board.addEventListener("blur", () => show(-1));
  board.addEventListener("keydown", event => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") show(-1);
    if (!step) return;
    event.preventDefault();
    show((current + step + points.length) % points.length);
  });
  map.addEventListener("change", () => show(-1));

  const keys = [...map.querySelectorAll("button")];
  for (const key of keys) {
    key.addEventListener("click", () => {
      key.setAttribute("aria-pressed", key.getAttribute("aria-pressed") !== "true");
      const pressed = new Set(keys.filter(one => one.getAttribute("aria-pressed") === "true").map(one => one.dataset.label));
      map.classList.toggle("some", pressed.size > 0);
      points.forEach(point => point.classList.toggle("on", pressed.has(point.dataset.label)));
      show(-1);
    });
  }
}
// Browsers that don't know ::details-content print what is open.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(one => { one.open = true; }));
