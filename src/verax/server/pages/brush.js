/* Painting a mask over the photo: damaged places, or places that may change. Gives a black and white picture. */

import { byId, make, pictureAddress } from "./server.js";

const MOST_PX = 2048; // long side of the drawing; phones have no larger canvas
const KINDS = {
  mask: ["Paint over the damaged places", "Fill these places"],
  only: ["Paint over what may change", "Change only these places"],
};

let strokes = []; // {width, erase, points}
let now = null; // the current stroke
let hand = [0.5, 0.5]; // brush position of the keyboard, as shares
let resolve = null;

const board = () => byId("brush-board");
const width = () => Number(byId("brush-size").value) / 100 * Math.min(board().width, board().height);

function draw() {
  const context = board().getContext("2d");
  context.clearRect(0, 0, board().width, board().height);
  context.lineCap = context.lineJoin = "round";
  context.strokeStyle = "#e6007e";
  for (const stroke of now ? [...strokes, now] : strokes) {
    context.globalCompositeOperation = stroke.erase ? "destination-out" : "source-over";
    context.lineWidth = stroke.width;
    context.beginPath();
    stroke.points.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
    context.lineTo(...stroke.points[0].map((v, i) => (stroke.points.length > 1 ? stroke.points.at(-1)[i] : v + 0.01)));
    context.stroke();
  }
  byId("brush-undo").disabled = byId("brush-clear").disabled = strokes.length === 0;
  byId("brush-done").disabled = !strokes.some((stroke) => !stroke.erase);
}

const begin = (point) => ({ width: width(), erase: byId("brush-erase").checked, points: [point] });

function pointOf(event) {
  const box = board().getBoundingClientRect();
  return [(event.clientX - box.left) * board().width / box.width, (event.clientY - box.top) * board().height / box.height];
}

function key(event) {
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (!step && event.key !== " ") return;
  event.preventDefault();
  const reach = width() / 2;
  const from = [hand[0] * board().width, hand[1] * board().height];
  if (step) hand = from.map((v, i) => Math.min(1, Math.max(0, (v + step[i] * reach) / [board().width, board().height][i])));
  else strokes.push(begin(from));
  draw();
  const context = board().getContext("2d"); // of the brush cursor
  context.globalCompositeOperation = "source-over";
  context.lineWidth = Math.max(2, board().width / 300);
  context.beginPath();
  context.arc(hand[0] * board().width, hand[1] * board().height, reach, 0, 7);
  context.stroke();
}

function picture() {
  const sheet = make("canvas", { width: board().width, height: board().height });
  const context = sheet.getContext("2d");
  draw();
  context.drawImage(board(), 0, 0);
  for (const [mode, colour] of [["source-in", "#fff"], ["destination-over", "#000"]]) {
    context.globalCompositeOperation = mode;
    context.fillStyle = colour;
    context.fillRect(0, 0, sheet.width, sheet.height);
  }
  return new Promise((take) => { sheet.toBlob(take, "image/png"); });
}

/** Lets the user paint over an entry's photo; resolves to a picture file, or null if cancelled. */
export async function paint(entry, kind) {
  const scale = Math.min(1, MOST_PX / Math.max(entry.width, entry.height));
  [byId("brush-title").textContent, byId("brush-done").textContent] = KINDS[kind];
  board().width = Math.round(entry.width * scale);
  board().height = Math.round(entry.height * scale);
  byId("brush-photo").src = await pictureAddress(entry.id, "photo");
  byId("brush").style.setProperty("--aspect", String(entry.width / entry.height));
  byId("brush-erase").checked = false;
  strokes = [];
  hand = [0.5, 0.5];
  byId("brush").showModal();
  board().focus();
  draw();
  return new Promise((settle) => { resolve = settle; });
}

export function startBrush() {
  const end = async (agreed) => {
    const blob = agreed ? await picture() : null;
    byId("brush").close();
    resolve?.(blob);
    resolve = null;
  };
  board().addEventListener("pointerdown", (event) => {
    if (event.button > 0) return;
    board().setPointerCapture(event.pointerId);
    now = begin(pointOf(event));
    draw();
  });
  board().addEventListener("pointermove", (event) => {
    if (!now) return;
    now.points.push(pointOf(event));
    draw();
  });
  const lift = () => {
    if (now) strokes.push(now);
    now = null;
    draw();
  };
  for (const name of ["pointerup", "pointercancel"]) board().addEventListener(name, lift);
  board().addEventListener("keydown", key);
  byId("brush-undo").addEventListener("click", () => { strokes.pop(); draw(); });
  byId("brush-clear").addEventListener("click", () => { strokes = []; draw(); });
  byId("brush-done").addEventListener("click", () => end(true));
  byId("brush-cancel").addEventListener("click", () => end(false));
  byId("brush").addEventListener("cancel", () => { resolve?.(null); resolve = null; });
}
