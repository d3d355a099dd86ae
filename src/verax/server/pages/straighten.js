/* Straightening a photographed print: the server finds the corners, the user may move them. */

import { ask, byId, make, tryJson } from "./server.js";

const SMALL_PX = 1024; // long side of the copy on which corners are detected
const LEAST_PX = 64; // least side of a photo in which a print is looked for
const STEP = 0.005; // step of the arrow keys, share of a side
const NAMES = ["top left", "top right", "bottom right", "bottom left"];
const USUAL = [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]];

let corners = USUAL; // shares of width and height
let resolve = null;

const marks = () => [...byId("straighten-easel").querySelectorAll(".corner")];

/** Corners of the print in a chosen photo, as shares of its sides; null if none is detected. */
export async function findPrint(item) {
  if (item.visible === false || Math.min(item.width, item.height) < LEAST_PX) return null;
  const scale = Math.min(1, SMALL_PX / Math.max(item.width, item.height));
  const sheet = make("canvas", { width: Math.round(item.width * scale), height: Math.round(item.height * scale) });
  const picture = make("img", { src: item.url });
  await picture.decode();
  sheet.getContext("2d").drawImage(picture, 0, 0, sheet.width, sheet.height);
  const form = new FormData();
  form.append("photo", await new Promise((take) => { sheet.toBlob(take, "image/jpeg", 0.9); }), "shot.jpg");
  const answer = await tryJson("/page/straighten", { method: "POST", body: form });
  return answer?.corners?.map(([x, y]) => [(x + 0.5) / sheet.width, (y + 0.5) / sheet.height]) || null;
}

function draw() {
  const sheet = byId("straighten-outline"), context = sheet.getContext("2d");
  context.clearRect(0, 0, sheet.width, sheet.height);
  context.strokeStyle = "#e6007e";
  context.lineWidth = Math.max(3, sheet.width / 250);
  context.beginPath();
  for (const [x, y] of corners) context.lineTo(x * sheet.width, y * sheet.height);
  context.closePath();
  context.stroke();
  marks().forEach((mark, index) => {
    mark.style.left = 100 * corners[index][0] + "%";
    mark.style.top = 100 * corners[index][1] + "%";
  });
}

function move(index, x, y) {
  corners[index] = [x, y].map((share) => Math.min(1, Math.max(0, share)));
  draw();
}

function mark(name, index) {
  const node = make("button", { type: "button", className: "corner", "aria-label": "Corner " + name + ", arrow keys move it" });
  node.addEventListener("pointerdown", (event) => node.setPointerCapture(event.pointerId));
  node.addEventListener("pointermove", (event) => {
    if (!node.hasPointerCapture(event.pointerId)) return;
    const box = byId("straighten-easel").getBoundingClientRect();
    move(index, (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  });
  node.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    move(index, ...corners[index].map((share, axis) => share + STEP * step[axis]));
  });
  return node;
}

/** The straightened print as a file, between corners that the user confirms; null if cancelled. */
export async function straighten(item) {
  corners = (item.corners || USUAL).map((corner) => [...corner]);
  byId("straighten-photo").src = item.url;
  const sheet = byId("straighten-outline"), scale = Math.min(1, SMALL_PX / Math.max(item.width, item.height));
  sheet.width = Math.round(item.width * scale);
  sheet.height = Math.round(item.height * scale);
  byId("straighten").style.setProperty("--aspect", String(item.width / item.height));
  byId("straighten").showModal();
  marks()[0].focus();
  draw();
  if (!await new Promise((settle) => { resolve = settle; })) return null;
  item.corners = corners;
  const form = new FormData();
  form.append("photo", item.photo, item.photo.name);
  form.append("corners", corners.map(([x, y]) => (x * item.width - 0.5) + "," + (y * item.height - 0.5)).join(" "));
  const answer = await ask("/page/straighten", { method: "POST", body: form });
  return new File([await answer.blob()], item.photo.name.replace(/\.[^.]*$/, "") + "_straightened.png", { type: "image/png" });
}

export function startStraighten() {
  const end = (agreed) => {
    byId("straighten").close();
    resolve?.(agreed);
    resolve = null;
  };
  byId("straighten-easel").append(...NAMES.map(mark));
  byId("straighten-done").addEventListener("click", () => end(true));
  byId("straighten-cancel").addEventListener("click", () => end(false));
  byId("straighten").addEventListener("cancel", () => { resolve?.(false); resolve = null; });
}
