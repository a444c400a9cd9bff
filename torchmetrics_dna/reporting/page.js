"use strict";
// The map of neurons: what the mouse, a finger or the keyboard chooses is described and drawn.
const data = JSON.parse(document.getElementById("data").textContent);
const bytes = Uint8Array.from(atob(data.levels), (letter) => letter.charCodeAt(0));
const groups = bytes.length / data.number.length / 2;
const map = document.getElementById("neurons");
const cells = [...map.querySelectorAll(".cells")];
const cursor = document.createElement("span");
cursor.className = "cursor";
let kept = data.emd.indexOf(Math.max(...data.emd));

const layerOf = (place) => data.layers.findIndex(([, first, count]) => place < first + count);

function drawing(name, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
}

function outline(place, side, left, width, height) {
  const used = data.used[place];
  let path = `M${left} ${height}`;
  for (let i = 0; i < used; i++) {
    const level = bytes[(2 * place + side) * groups + i] / 255;
    path += `V${(height * (1 - level)).toFixed(1)}H${(left + (width * (i + 1)) / used).toFixed(1)}`;
  }
  return `${path}V${height}`;
}

function draw(place) {
  const [left, width, height] = [44, 272, 125];
  const parts = [100, 1, 0.01].map((percent, i) => {
    const y = (height * 2 * i) / 5;
    return [
      drawing("line", { class: "grid-line", x1: left, x2: left + width, y1: y, y2: y }),
      drawing("text", { x: left - 5, y: Math.max(y + 4, 10), "text-anchor": "end" }, `${percent} %`),
    ];
  });
  document.getElementById("pair").replaceChildren(
    ...parts.flat(),
    drawing("path", { class: "a", d: outline(place, 0, left, width, height) }),
    drawing("path", { class: "b", d: outline(place, 1, left, width, height) }),
    drawing("line", { class: "grid-line", x1: left, x2: left + width, y1: height, y2: height }),
    drawing("text", { x: left, y: height + 16 }, data.low[place]),
    drawing("text", { x: left + width, y: height + 16, "text-anchor": "end" }, data.high[place]),
  );
}

function show(place) {
  const [layer, first, count] = data.layers[layerOf(place)];
  const shift = data.shift[place];
  const sure = data.q.length ? `; q ${data.q[place]}` : "";
  document.getElementById("neuron").textContent =
    `${layer}, neuron ${data.number[place]}: ${data.emd[place]} bins, number ${place - first + 1} of ${count}` +
    ` in its layer; mean activation ${shift < 0 ? "lower" : "higher"} in B by ${Math.abs(shift)}${sure}` +
    (data.spike[place] && `; ${data.spike[place]}`);
  draw(place);
  const rows = Math.ceil(count / data.columns);
  Object.assign(cursor.style, {
    left: `${(100 * ((place - first) % data.columns)) / data.columns}%`,
    top: `${(100 * Math.floor((place - first) / data.columns)) / rows}%`,
    width: `${100 / data.columns}%`,
    height: `${100 / rows}%`,
  });
  cells[layerOf(place)].append(cursor);
}

function pointedAt(event) {
  const layer = event.target.closest(".cells");
  if (!layer) return null;
  const { left, top, width, height } = layer.getBoundingClientRect();
  const count = Number(layer.dataset.count);
  const column = Math.floor((data.columns * (event.clientX - left)) / width);
  const row = Math.floor((Math.ceil(count / data.columns) * (event.clientY - top)) / height);
  const place = row * data.columns + column;
  return column >= 0 && column < data.columns && place >= 0 && place < count ? Number(layer.dataset.first) + place : null;
}

// the place at a column of a row of a layer, or the nearest that there is
function at(number, row, column) {
  const [, first, count] = data.layers[number];
  return first + Math.min(row * data.columns + column, count - 1);
}

function moved(key) {
  const number = layerOf(kept);
  const [, first, count] = data.layers[number];
  const rowsOf = (n) => Math.ceil(data.layers[n][2] / data.columns);
  const [row, column] = [Math.floor((kept - first) / data.columns), (kept - first) % data.columns];
  const [before, after] = [Math.max(number - 1, 0), Math.min(number + 1, data.layers.length - 1)];
  return {
    ArrowLeft: Math.max(kept - 1, 0),
    ArrowRight: Math.min(kept + 1, data.number.length - 1),
    ArrowUp: row > 0 ? at(number, row - 1, column) : before < number ? at(before, rowsOf(before) - 1, column) : kept,
    ArrowDown: row + 1 < rowsOf(number) ? at(number, row + 1, column) : after > number ? at(after, 0, column) : kept,
    Home: first,
    End: first + count - 1,
    PageUp: at(before, 0, 0),
    PageDown: at(after, 0, 0),
  }[key];
}

map.addEventListener("pointermove", (event) => show(pointedAt(event) ?? kept));
map.addEventListener("pointerleave", () => show(kept));
map.addEventListener("click", (event) => {
  kept = pointedAt(event) ?? kept;
  show(kept);
});
map.addEventListener("keydown", (event) => {
  const place = event.altKey || event.ctrlKey || event.metaKey ? undefined : moved(event.key);
  if (place === undefined) return;
  event.preventDefault();
  kept = place;
  show(kept);
  cursor.scrollIntoView({ block: "nearest" });
});
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => (part.open = true)));
show(kept);
