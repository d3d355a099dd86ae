/* The Restore tab: sends the chosen photos and lists the results. */

import { choosePrior, dropZone, startChoosing, takePhotos } from "./choose.js";
import { outbox, post, repost, startOutbox, withdraw } from "./outbox.js";
import {
  announce, ask, askJson, byId, entryPicture, forgetPictures, historyEntries, make, offerUndo, save, tellTabs, trouble, wait, whenChanged,
} from "./server.js";
import { leaveResult, showAddress, showResult, currentId, startResult } from "./result.js";

const STATES = {
  waiting: ["waiting for its turn", 1],
  asking: ["asking the model", 2],
  restoring: ["restoring", 3],
  measuring: ["measuring what changed", 4],
};
const BUSY = (entry) => entry.state in STATES;
const POLL_SECONDS = 0.7;

let entries = [];
let version = 0; // counts changes made in this tab
let polling = false;
let target = null; // id of the entry to open as soon as it can be shown
const batch = new Set(); // ids sent since all were finished
const restarts = new Set(); // ids that were restarted automatically, once each

function submit(event) {
  event.preventDefault();
  const items = takePhotos();
  target = items.length === 1 ? items[0].id : null; // with several, none opens by itself
  trouble("");
  byId("history-title").scrollIntoView({ block: "center" });
  byId("intro").open = false;
  post(items);
}

/** Add the entry of an item that the server has accepted. */
function addEntry(entry) {
  version += 1;
  entries = [entry, ...entries.filter((one) => one.id !== entry.id)];
  tellTabs();
  poll();
}

// ---- entries --------------------------------------------------------------------------------

async function refresh() {
  const start = version;
  const all = await historyEntries();
  if (start !== version) return refresh(); // the answer is older than a change made here
  const before = new Map(entries.map((entry) => [entry.id, entry.state]));
  entries = all.filter((entry) => entry.kind === "restoration");
  const openId = currentId();
  for (const entry of entries) {
    if (entry.interrupted && !entry.model && !restarts.has(entry.id)) {
      restarts.add(entry.id); // interrupted by a stop of the server, and unpaid
      again(entry).catch(() => {}); // another tab may have done it
      continue;
    }
    const last = before.get(entry.id);
    if (last === entry.state || last === undefined) continue;
    announce(entry.name + ": " + (STATES[entry.state]?.[0] || entry.state));
    const visible = entry.pictures.includes("restoration") && entry.width;
    if (entry.id === target && visible && (entry.state === "done" || entry.state === "measuring")) {
      target = null;
      if (!openId && !byId("restore").hidden) showAddress(entry.id);
      else if (entry.id === openId) showResult(entry, { focus: false });
    } else if (entry.id === openId) showResult(entry, { focus: false });
  }
  if (openId && !entries.some((entry) => entry.id === openId)) {
    leaveResult();
    trouble("This restoration was deleted in another tab.");
  }
  showHistory();
  return undefined;
}

async function poll() {
  if (polling) return;
  polling = true;
  try {
    while (entries.some(BUSY)) {
      await wait(POLL_SECONDS);
      await refresh();
    }
  } catch (error) {
    trouble(error.message);
  }
  polling = false;
}

const lookAgain = () => refresh().then(poll).catch((error) => trouble(error.message));

// ---- the list ---------------------------------------------------------------------------------------

const rows = new Map(); // id -> {text, node}: a row is rebuilt only when its text changes

function showHistory() {
  const list = byId("history");
  const nodes = outbox().map(outboxRow).concat(entries.map((entry) => {
    const text = JSON.stringify([entry.state, entry.error, entry.prior, entry.pictures.length]);
    const old = rows.get(entry.id);
    if (old && old.text === text) return old.node;
    const focus = old && old.node.contains(document.activeElement);
    const node = row(entry);
    rows.set(entry.id, { text, node });
    if (focus) window.setTimeout(() => node.querySelector("button")?.focus());
    return node;
  }));
  const present = new Set(nodes);
  for (const node of [...list.children]) if (!present.has(node)) node.remove();
  nodes.forEach((node, index) => {
    if (list.children[index] !== node) list.insertBefore(node, list.children[index] || null);
  });
  byId("history-empty").hidden = nodes.length > 0;
  byId("zip").hidden = !entries.some((entry) => entry.state === "done");
  byId("clear").hidden = entries.length === 0;
  showBatch();
}

/** Progress of all photos, while more than one is in progress. */
function showBatch() {
  const busy = entries.filter(BUSY);
  const waiting = outbox().filter((item) => !item.error);
  for (const one of [...busy, ...waiting]) batch.add(one.id);
  const open = busy.length + waiting.length;
  const failures = entries.filter((entry) => batch.has(entry.id) && entry.state === "failed").length;
  byId("batch").hidden = open === 0 || batch.size < 2;
  Object.assign(byId("batch-bar"), { max: batch.size, value: Math.max(0, batch.size - open) });
  byId("batch-words").textContent = batch.size - open + " of " + batch.size + " photos finished"
    + (failures ? ", " + failures + " failed" : "");
  if (open === 0) batch.clear();
}

/** Rows for items that wait to be sent or were refused. */
function outboxRow(item) {
  const text = item.error || "waiting to be sent …";
  const old = rows.get(item.id);
  if (old && old.text === text) return old.node;
  const words = make("div", {}, make("div", { className: "name" }, item.photo.name),
    make("div", { className: "note" }, text));
  const actions = make("div", { className: "row" });
  const name = { name: item.photo.name };
  if (item.error) actions.append(action("Try again", name, async () => repost(item)));
  actions.append(action("Remove", name, async () => withdraw(item)));
  const thumb = make("img", { className: "thumb", src: item.url, alt: "" });
  const node = make("li", { className: "item" + (item.error ? " state-failed" : "") }, thumb, words, actions);
  rows.set(item.id, { text, node });
  return node;
}

function row(entry) {
  const words = make("div", {}, make("div", { className: "name" }, entry.name));
  if (BUSY(entry)) {
    const [text, step] = STATES[entry.state];
    words.append(make("div", { className: "note" }, text + " …"),
      make("progress", { max: 5, value: step, "aria-label": entry.name + ", " + text }));
  } else words.append(make("div", { className: "note" }, entry.state === "failed" ? entry.error : summary(entry)));
  const picture = ["small", "restoration", "photo"].find((name) => entry.pictures.includes(name));
  const thumb = picture ? entryPicture(entry, picture, { className: "thumb", alt: "" })
    : make("div", { className: "thumb", "aria-hidden": "true" });
  const actions = make("div", { className: "row" });
  if (entry.pictures.includes("restoration") && entry.width) {
    actions.append(action("Show", entry, async () => showAddress(entry.id)));
    if (entry.state === "done") {
      actions.append(action("Download", entry, () =>
        save("/page/history/" + entry.id + "/file").then((name) => announce("Saved as " + name))));
    }
  }
  const still = !BUSY(entry) && entry.format;
  if (still && entry.prior === "none") {
    actions.append(action("Add generated picture", entry, async () => choosePrior((files) => withPrior(entry, files))));
  }
  if (entry.state === "failed" && entry.format) actions.append(action("Try again", entry, () => again(entry)));
  actions.append(action("Delete", entry, () => remove([entry])));
  const node = make("li", { className: "item state-" + entry.state + (still ? " takes-prior" : "") }, thumb, words, actions);
  if (still) dropZone(node, (files) => withPrior(entry, files).catch((error) => trouble(error.message)));
  return node;
}

function summary(entry) {
  const size = entry.width + " × " + entry.height;
  const uses = { used: "with the generated picture", unused: "generated picture not used", none: "without a generated picture" };
  return [size, uses[entry.prior], new Date(entry.created * 1000).toLocaleString()].filter(Boolean).join(" · ");
}

function action(label, entry, run) {
  const button = make("button", { type: "button", "aria-label": label + " " + entry.name }, label);
  button.addEventListener("click", () => run().catch((error) => trouble(error.message)));
  return button;
}

/** Run the built-in example. */
async function tryExample() {
  const entry = await askJson("/page/example", { method: "POST" });
  version += 1;
  entries = [entry, ...entries];
  target = entry.id;
  showHistory();
  byId("history-title").scrollIntoView({ block: "center" });
  announce("Making the example");
  tellTabs();
  poll();
}

/** Restart a failed entry, or restore it with other settings: {prior, mask, only, task}, "" removes one.
 * Paid answers are reused. */
async function again(entry, changes = {}) {
  const body = new FormData();
  for (const [name, value] of Object.entries(changes)) body.append(name, value);
  const options = Object.keys(changes).length > 0 ? { body } : {};
  const next = await askJson("/page/history/" + entry.id + "/again", { method: "POST", ...options });
  version += 1;
  if (entry.id === currentId()) showResult(next, { focus: false });
  else forgetPictures(entry.id);
  entries = entries.map((one) => (one.id === entry.id ? next : one));
  announce(entry.name + " is being restored again");
  showHistory();
  tellTabs();
  poll();
  return next;
}

async function withPrior(entry, files) {
  if (files.length === 0) return;
  trouble("");
  await again(entry, { prior: files[0] });
}

// ---- deleting -----------------------------------------------------------------------------------------

async function remove(several) {
  const index = entries.findIndex((one) => one.id === several[0].id);
  for (const entry of several) {
    await ask("/page/history/" + entry.id, { method: "DELETE" });
    forgetPictures(entry.id);
    rows.delete(entry.id);
  }
  version += 1;
  const ids = new Set(several.map((entry) => entry.id));
  entries = entries.filter((one) => !ids.has(one.id));
  showHistory();
  if (ids.has(currentId())) leaveResult();
  const next = byId("history").children[Math.min(index, entries.length - 1)];
  (next ? next.querySelector("button") : byId("photo-choose")).focus({ preventScroll: true });
  const words = (several.length === 1 ? several[0].name : several.length + " restorations") + " deleted";
  announce(words);
  tellTabs();
  offerUndo(words + ".", async () => {
    for (const entry of several) await askJson("/page/history/" + entry.id + "/back", { method: "POST" });
    announce("The deletion was undone");
    tellTabs();
    await lookAgain();
  });
}

// ---- start ----------------------------------------------------------------------------------------

export async function startRestore() {
  const waiting = await startChoosing();
  byId("order").addEventListener("submit", submit);
  byId("example").addEventListener("click", () => tryExample().catch((error) => trouble(error.message)));
  byId("zip").addEventListener("click", () =>
    save("/page/restorations.zip").then((name) => announce("Saved as " + name), (error) => trouble(error.message)));
  byId("clear").addEventListener("click", () => remove([...entries]).catch((error) => trouble(error.message)));
  startResult({
    remove: (entry) => remove([entry]).catch((error) => trouble(error.message)),
    again,
    closed: (id) => rows.get(id)?.node.querySelector("button")?.focus({ preventScroll: true }),
  });
  whenChanged(lookAgain);
  await refresh();
  byId("intro").open = entries.length === 0;
  poll();
  startOutbox(waiting, { onArrival: addEntry, onChange: showHistory });
}
