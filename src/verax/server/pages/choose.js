/* Choosing photos, the generated picture of each, and the model, with its price. */

import { readable } from "./readable.js";
import { announce, byId, make, priceSentence, revoke, trouble } from "./server.js";
import { forget, keep, recall, newId } from "./store.js";
import { findPrint, startStraighten, straighten } from "./straighten.js";

// {id, photo: File, prior: File | null, url, priorUrl, width, height, error}, and if the photo shows a print, its
// {corners} as fractions of the sides; once it is straightened also {shot: the original photo}
let photos = [];
let offer = null; // models of the service

const way = () => document.querySelector("input[name=way]:checked").value;
const stem = (name) => name.replace(/\.[^.]*$/, "").toLowerCase();

// ---- photos and their priors --------------------------------------------------------------------------

export async function addPhotos(files) {
  for (const { file, url, width, height, visible, format } of await readable(files)) {
    const item = { id: newId(), photo: file, prior: null, url, priorUrl: "", width, height, visible, format, error: "" };
    photos.push(item);
    keep(item);
  }
  lookForPrints();
  if (photos.length > 0) announce(photos.length + (photos.length === 1 ? " photo chosen" : " photos chosen"));
  showPhotos();
}

let looking = Promise.resolve(); // in sequence and in the background

/** Offer to straighten photos that look like a photographed print. */
function lookForPrints() {
  for (const item of photos) looking = looking.then(() => lookForPrint(item));
}

async function lookForPrint(item) {
  if (!offer || item.corners !== undefined || !photos.includes(item)) return;
  item.corners = await findPrint(item).catch(() => null);
  if (item.corners && photos.includes(item)) showPhotos();
}

/** Use another file for a photo; the user's own file is not changed. */
function change(item, { photo, ...about }, words) {
  revoke(item.url);
  Object.assign(item, { ...about, photo, url: URL.createObjectURL(photo) });
  keep(item);
  announce(words);
  showPhotos();
}

/** Straighten the print that a photo shows. */
async function makeFlat(item) {
  const { photo, width, height, visible, format } = item;
  try {
    const print = await straighten(item);
    const [flat] = print ? await readable([print]) : [];
    if (!flat || !photos.includes(item)) return;
    revoke(flat.url);
    const about = { photo: flat.file, width: flat.width, height: flat.height, visible: true, format: "PNG" };
    change(item, { ...about, shot: { photo, width, height, visible, format } }, "Straightened");
  } catch (error) {
    trouble(error.message);
  }
}

function pair(item, picture) {
  revoke(item.priorUrl);
  item.prior = picture ? picture.file : null;
  item.priorUrl = picture ? picture.url : "";
  item.priorVisible = picture?.visible;
  keep(item);
  showPhotos();
}

export function release(item) {
  for (const address of [item.url, item.priorUrl]) revoke(address);
}

/** Give every photo its generated picture: the one with the same file name, or else the next in order. */
export async function addPriors(files) {
  if (photos.length === 0) return trouble("Choose the photo first, then its generated picture.");
  const rest = (await readable(files)).filter((picture) => {
    const match = photos.length > 1 && photos.find((item) => stem(item.photo.name) === stem(picture.file.name));
    if (match) pair(match, picture);
    return !match;
  });
  for (const picture of rest) {
    const item = photos.find((one) => !one.prior) || (photos.length === 1 ? photos[0] : null);
    if (item) pair(item, picture);
  }
  announce("Generated picture chosen");
}

let takePrior = () => {}; // takes the file of a single prior

/** Let the user choose one generated picture; `take` is called with the file. */
export function choosePrior(take) {
  takePrior = take;
  byId("prior-file").click();
}

// ---- the list of photos ------------------------------------------------------------------------------------

function button(label, name, run) {
  const node = make("button", { type: "button", "aria-label": label + " " + name }, label);
  node.addEventListener("click", run);
  return node;
}

function drop(item) {
  release(item);
  forget(item.id);
  photos = photos.filter((one) => one !== item);
  showPhotos();
  byId("photo-choose").focus();
}

/** A thumbnail of a file, or its format if the browser cannot show it. */
const thumb = (url, visible, format) => (visible === false
  ? make("span", { className: "thumb format", "aria-hidden": "true" }, format || "")
  : make("img", { className: "thumb", src: url, alt: "" }));

function photoRow(item) {
  const name = item.photo.name, paired = way() === "picture";
  const words = [item.shot ? "straightened" : item.corners ? "looks like a photographed print" : "", item.width ? item.width + " × " + item.height : "",
    !paired ? "" : item.prior ? "with " + item.prior.name : "no generated picture yet"].filter(Boolean).join(" · ");
  const thumbs = make("div", { className: "thumbs" }, thumb(item.url, item.visible, item.format));
  if (paired && item.prior) thumbs.append(thumb(item.priorUrl, item.priorVisible, ""));
  const actions = make("div", { className: "row" });
  if (paired) {
    actions.append(button(item.prior ? "Change picture" : "Add generated picture", "of " + name, () =>
      choosePrior((files) => replacePrior(item, files))));
    if (item.prior) actions.append(button("Remove picture", "of " + name, () => pair(item, null)));
  }
  if (item.shot) actions.append(button("Undo straightening", "of " + name, () => change(item, { ...item.shot, shot: null }, "The original photo is back")));
  else if (item.corners) actions.append(button("Straighten", name, () => makeFlat(item)));
  actions.append(button("Remove", name, () => drop(item)));
  const node = make("li", { className: "item takes-prior" }, thumbs,
    make("div", {}, make("div", { className: "name" }, name), make("small", {}, words)), actions);
  if (paired) dropZone(node, (files) => replacePrior(item, files));
  return node;
}

async function replacePrior(item, files) {
  const [picture] = await readable(files);
  if (picture) pair(item, picture);
}

/** Rebuild the rows; keyboard focus stays on its button, or moves to its row. */
function showRows() {
  const control = document.activeElement, index = [...byId("chosen").children].indexOf(control.closest("#chosen > li"));
  byId("chosen").replaceChildren(...photos.map(photoRow));
  const buttons = [...byId("chosen").children[index]?.querySelectorAll("button") || []];
  (buttons.find((one) => one.ariaLabel === control.ariaLabel) || buttons[0])?.focus();
}

function showPhotos() {
  showRows();
  const count = photos.length;
  const needModel = way() === "model" && !(offer && offer.ready);
  byId("go").disabled = count === 0 || needModel;
  byId("go").textContent = count > 1 ? "Restore " + count + " photos" : "Restore";
  const without = photos.filter((item) => !item.prior).length;
  byId("go-note").textContent = count === 0 ? "Choose a photo first."
    : way() === "picture" && without > 0
      ? (count === 1 ? "The photo will be restored without a generated picture."
        : without + " of the photos will be restored without a generated picture.") : "";
  showPrice();
}

function chooseWay() {
  byId("way-picture").hidden = way() !== "picture";
  byId("way-model").hidden = way() !== "model";
  showPhotos();
}

let asking = 0; // number of the last request: only its answer is used

/** The price of the chosen photos with the model, before anything is sent. */
async function showPrice() {
  const line = byId("price");
  if (way() !== "model" || !offer || !offer.ready) {
    line.textContent = "";
    return;
  }
  if (photos.length === 0) {
    line.textContent = "Choose a photo to see the price.";
    return;
  }
  const wishes = photos.map(({ width, height }) => (
    { kind: "edit", model: byId("model").value, width, height, prompt: byId("wish").value }));
  const question = (asking += 1);
  try {
    const sentence = await priceSentence(wishes);
    if (question === asking) line.textContent = sentence;
  } catch (error) {
    line.textContent = error.message;
  }
}

export function takeOffer(answer) {
  offer = answer;
  byId("model").replaceChildren(...answer.models.map((model) => make("option", { value: model.id }, model.id)));
  byId("model-trouble").hidden = answer.ready;
  byId("model-trouble").textContent = answer.ready ? ""
    : "A model can make the picture from your photo; the price is shown first. No model is available yet: " + answer.message;
  for (const id of ["model", "wish"]) byId(id).disabled = !answer.ready;
  lookForPrints();
  showPhotos();
}

/** Take all chosen photos with their settings; the list is empty afterwards. */
export function takePhotos() {
  const how = { way: way(), model: byId("model").value, wish: byId("wish").value };
  const items = photos.map(({ shot, corners, ...item }) => ({ ...item, how }));
  photos = [];
  showPhotos();
  return items;
}

// ---- start ----------------------------------------------------------------------------------------

/** Accept dropped pictures on an element. */
export function dropZone(zone, take) {
  const over = (on) => (event) => {
    event.preventDefault();
    event.stopPropagation();
    zone.classList.toggle("over", on);
  };
  for (const name of ["dragenter", "dragover"]) zone.addEventListener(name, over(true));
  zone.addEventListener("dragleave", over(false));
  zone.addEventListener("drop", (event) => {
    over(false)(event);
    take(event.dataTransfer.files);
  });
}

function picker(button, input, take) {
  if (button) byId(button).addEventListener("click", () => byId(input).click());
  byId(input).addEventListener("change", async (event) => {
    const files = [...event.target.files];
    event.target.value = "";
    try {
      await take(files);
    } catch (error) {
      trouble(error.message);
    }
  });
}

/** Set up the form; resolves to items that were being sent when the page was closed. */
export async function startChoosing() {
  startStraighten();
  picker("photo-choose", "photo-files", addPhotos);
  picker("photo-camera", "camera-file", addPhotos);
  picker("prior-choose", "prior-files", addPriors);
  picker(null, "prior-file", (files) => takePrior(files));
  dropZone(byId("photo-box"), addPhotos);
  dropZone(byId("way-picture"), addPriors);
  document.querySelectorAll("input[name=way]").forEach((input) => input.addEventListener("change", chooseWay));
  for (const [id, name] of [["model", "change"], ["wish", "change"]]) byId(id).addEventListener(name, showPrice);
  const items = (await recall()).map((item) => ({
    ...item, url: URL.createObjectURL(item.photo), priorUrl: item.prior ? URL.createObjectURL(item.prior) : "",
  }));
  photos = items.filter((item) => !item.how);
  showPhotos();
  return items.filter((item) => item.how);
}
