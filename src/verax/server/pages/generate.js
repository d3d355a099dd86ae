/* The Generate tab: pictures from a prompt, then turns of an edit with its history beside it. */

import {
  announce, ask, askJson, byId, dollars, entryPicture, forgetPictures, historyEntries, make, offerUndo, pictureAddress, priceSentence,
  save, tellTabs, trouble, wait, whenChanged,
} from "./server.js";
import { newId } from "./store.js";
import { choices } from "./sizes.js";

const BUSY = ["waiting", "asking", "restoring", "measuring"];

let offer = null;
let entries = []; // newest first
let first = null; // {id, picture}: the picture that is edited
const rejects = new Set(); // turns that the user rejected
let polling = false;
let lastText = "";

const model = () => offer.models.find((one) => one.id === byId("g-model").value);
const options = (id, values) => byId(id).replaceChildren(
  ...values.map(([value, text]) => make("option", { value }, text)));
const sameFirst = (entry) => first && entry.first
  && entry.first.id === first.id && entry.first.picture === first.picture;
const turnsOf = () => entries.filter((entry) => sameFirst(entry) && entry.state === "done").reverse();
const promptsSoFar = () => turnsOf().filter((entry) => !rejects.has(entry.id)).map((entry) => entry.prompt);

// ---- the form -------------------------------------------------------------------------------------

export function takeOffer(answer) {
  offer = answer;
  byId("generate-trouble").hidden = answer.ready;
  byId("generate-why").textContent = answer.ready ? ""
    : "No model is available yet: " + answer.message + ". Then start verax serve again.";
  for (const control of byId("ask").elements) control.disabled = !answer.ready;
  options("g-model", answer.models.map((one) => [one.id, one.id]));
  if (answer.ready) takeModel();
}

function takeModel() {
  const limits = model();
  const shapes = choices(limits.sizes);
  options("g-aspect", [["auto", "automatic"], ...shapes.map(({ shape }) => [shape, shape])]);
  const qualities = limits.qualities.map((name) => [name, name]);
  options("g-quality", [["", limits.default_quality ? "default (" + limits.default_quality + ")" : "default"], ...qualities]);
  options("g-moderation", [["", "default"], ...limits.moderation.map((name) => [name, name])]);
  byId("g-moderation-box").hidden = limits.moderation.length === 0;
  takeShape();
}

function takeShape() {
  const shape = byId("g-aspect").value;
  const match = choices(model().sizes).find((choice) => choice.shape === shape);
  options("g-size", match ? match.sizes.map((size) => [size, size.replace("x", " × ")]) : [["auto", "auto"]]);
  byId("g-size").disabled = !match;
  showPrice();
}

const quality = () => byId("g-quality").value || model().default_quality;

/** Width and height of the picture that is edited: the picture is sent too, which is part of the price. */
async function firstSize() {
  const probe = new Image();
  probe.src = await pictureAddress(first.id, first.picture);
  await probe.decode();
  return { width: probe.naturalWidth, height: probe.naturalHeight };
}

let asking = 0; // number of the last request: only its answer is used

async function showPrice() {
  if (!offer || !offer.ready) return;
  const wish = {
    kind: first ? "edit" : "generation", model: model().id, size: byId("g-size").value || "auto",
    quality: quality(), n: byId("g-n").value || 1,
    prompt: [...(first ? promptsSoFar() : []), byId("prompt").value].join("\n"),
  };
  const question = (asking += 1);
  try {
    if (first) Object.assign(wish, await firstSize());
    const sentence = await priceSentence([wish]);
    if (question === asking) byId("g-price").textContent = sentence;
  } catch (error) {
    if (question === asking) byId("g-price").textContent = error.message;
  }
}

async function submit(event) {
  event.preventDefault();
  trouble("");
  const order = { id: newId(), model: model().id, prompt: byId("prompt").value, n: Number(byId("g-n").value) };
  const wishes = { size: byId("g-size").value, quality: quality(), moderation: byId("g-moderation").value };
  for (const [name, value] of Object.entries(wishes)) if (value && value !== "auto") order[name] = value;
  if (first) Object.assign(order, { first, turns: promptsSoFar() });
  byId("g-go").disabled = true;
  try {
    const entry = await askJson("/page/generations", {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(order),
    });
    entries = [entry, ...entries.filter((one) => one.id !== entry.id)];
    byId("prompt").value = "";
    showPrice();
    tellTabs();
    announce("The request was sent to the model");
    show();
    poll();
  } catch (error) {
    trouble(error.message);
  }
  byId("g-go").disabled = false;
}

// ---- pictures and turns -----------------------------------------------------------------------------

function change(entry, picture) {
  first = entry.first && picture === "first" ? entry.first : { id: entry.id, picture };
  byId("editing").hidden = false;
  byId("ask-title").textContent = "Change this picture";
  byId("prompt-label").textContent = "What should change?";
  byId("g-go").textContent = "Change";
  pictureAddress(first.id, first.picture).then((address) => { byId("editing-picture").src = address; }, () => {});
  byId("prompt").focus();
  showPrice();
  show();
}

function startAnew() {
  first = null;
  byId("editing").hidden = true;
  byId("ask-title").textContent = "Make a picture";
  byId("prompt-label").textContent = "What should the picture show?";
  byId("g-go").textContent = "Generate";
  byId("prompt").focus();
  showPrice();
  show();
}

function show() {
  const text = JSON.stringify([entries.map((e) => [e.id, e.state, e.pictures.length]), first, [...rejects]]);
  if (text === lastText) return; // the list is not rebuilt, so focus stays
  lastText = text;
  const mark = document.activeElement && document.activeElement.dataset.mark;
  byId("turns-empty").hidden = entries.length > 0;
  byId("turns").replaceChildren(...entries.map(turn));
  const again = mark && [...byId("turns").querySelectorAll("[data-mark]")].find((node) => node.dataset.mark === mark);
  if (again) again.focus();
}

function button(label, name, mark, run) {
  const node = make("button", { type: "button", "aria-label": label + ": " + name }, label);
  node.dataset.mark = mark;
  node.addEventListener("click", () => Promise.resolve(run()).catch((error) => trouble(error.message)));
  return node;
}

function turn(entry) {
  const node = make("li", { className: "turn state-" + entry.state });
  const facts = [entry.first ? "change " + ((entry.turns || []).length + 1) : "", entry.model, entry.size,
    typeof entry.cost_usd === "number" ? dollars(entry.cost_usd) : ""].filter(Boolean).join(" · ");
  node.append(make("p", { className: "prompt" }, entry.prompt), make("p", { className: "note" }, facts));
  if (BUSY.includes(entry.state)) {
    node.append(make("p", { className: "note" }, "the model is working …"), make("progress", { "aria-label": "Working" }));
  } else if (entry.state === "failed") node.append(make("p", { className: "note" }, entry.error));
  else node.append(gallery(entry));
  const actions = make("div", { className: "row" });
  if (sameFirst(entry) && entry.state === "done") actions.append(keepBox(entry));
  actions.append(button("Delete", entry.prompt, "delete " + entry.id, () => remove(entry)));
  node.append(actions);
  return node;
}

function gallery(entry) {
  const many = entry.pictures.length > 1;
  return make("div", { className: "gallery" }, ...entry.pictures.map((picture, index) => {
    const name = entry.prompt + (many ? ", picture " + (index + 1) : "");
    const caption = make("figcaption", {},
      button("Save", name, "save " + entry.id + index, () => savePicture(entry, picture)));
    if (entry.first) caption.append(button("Change further", name, "next " + entry.id + index, () => change(entry, "first")));
    caption.append(button(entry.first ? "Start from this" : "Change this", name, "change " + entry.id + index,
      () => change(entry, picture)));
    const figure = make("figure", {}, entryPicture(entry, picture, { alt: name }), caption);
    if (many && entry.best === index) figure.append(make("strong", { className: "badge" }, "best of " + entry.pictures.length));
    return figure;
  }));
}

function keepBox(entry) {
  const box = make("input", { type: "checkbox", checked: !rejects.has(entry.id) });
  box.dataset.mark = "keep " + entry.id;
  box.addEventListener("change", () => {
    if (box.checked) rejects.delete(entry.id);
    else rejects.add(entry.id);
    showPrice();
    show();
  });
  return make("label", { className: "keep" }, box, "keep this change for the next picture");
}

async function savePicture(entry, picture) {
  const name = await save("/page/history/" + entry.id + "/" + picture + ".png?save=1");
  announce("Saved as " + name);
}

async function remove(entry) {
  await ask("/page/history/" + entry.id, { method: "DELETE" });
  forgetPictures(entry.id);
  entries = entries.filter((one) => one.id !== entry.id);
  if (first && first.id === entry.id) startAnew();
  show();
  (byId("turns").querySelector("button") || byId("prompt")).focus();
  announce("Deleted");
  tellTabs();
  offerUndo("Deleted: " + entry.prompt.slice(0, 60), async () => {
    await askJson("/page/history/" + entry.id + "/back", { method: "POST" });
    tellTabs();
    await refresh();
  });
}

async function refresh() {
  const all = await historyEntries();
  const busy = new Set(entries.filter((entry) => BUSY.includes(entry.state)).map((entry) => entry.id));
  entries = all.filter((entry) => entry.kind === "generation");
  for (const entry of entries) {
    if (!busy.has(entry.id) || BUSY.includes(entry.state)) continue;
    announce(entry.state === "done" ? "The picture is ready" : "The request failed: " + entry.error);
  }
  show();
}

async function poll() {
  if (polling) return;
  polling = true;
  try {
    while (entries.some((entry) => BUSY.includes(entry.state))) {
      await wait(1);
      await refresh();
    }
  } catch (error) {
    trouble(error.message);
  }
  polling = false;
}

export async function startGenerate() {
  byId("g-model").addEventListener("change", takeModel);
  byId("g-aspect").addEventListener("change", takeShape);
  for (const id of ["g-size", "g-quality", "g-n", "prompt"]) byId(id).addEventListener("change", showPrice);
  byId("ask").addEventListener("submit", submit);
  byId("editing-stop").addEventListener("click", startAnew);
  whenChanged(() => refresh().then(poll).catch((error) => trouble(error.message)));
  await refresh();
  poll();
}
