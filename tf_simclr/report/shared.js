"use strict";
// What the pages with labels.csv have in common.
const content = JSON.parse(document.getElementById("content").textContent);
const byId = id => document.getElementById(id);

// An element. Children that are texts stay texts: no name from outside is ever read as HTML.
const make = (tag, attributes, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
};

const counted = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

// As --labels reads class names: white space at the ends and in rows does not matter.
const tidy = name => name.trim().split(/\s+/).join(" ");

// RFC 4180. Spaces at the ends are quoted for programs that would drop them.
const quoted = text => (/[",;\t\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
// With the column of splits where the table has one, whose place it takes.
const labelsFile = labels => {
  const splits = content.splits && new Map(content.splits);
  const rows = [["file", "label", ...(splits ? ["split"] : [])]];
  for (const [name, label] of labels) rows.push([name, label, ...(splits ? [splits.get(name) ?? "train"] : [])]);
  return rows.map(cells => `${cells.map(quoted).join(",")}\r\n`).join("");
};

const download = (name, text) => {
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  const link = make("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
};

// Letters and digits are keys only where nothing is typed.
const isTyping = event => event.target.matches?.("input, textarea");
const isPressing = event => event.target.matches?.("button, summary, a");
