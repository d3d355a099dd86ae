/* What is on its way to the server: sent one after another, kept in the browser until it has arrived. */

import { release } from "./choose.js";
import { announce, askJson, wait } from "./server.js";
import { forget, keep } from "./store.js";

let items = []; // chosen ones with `how` they are to be restored, and `error` where one was not accepted
let delivering = false;
let arrived = () => {}; // gets the entry
let changed = () => {};

export const outbox = () => items;

/** Send items. */
export function post(more) {
  for (const item of more) keep(item);
  items.push(...more);
  deliver();
}

/** Send once more what was not accepted. */
export function repost(item) {
  item.error = "";
  deliver();
  changed();
}

/** Send what is in the outbox, one after another; what was not accepted stays there and says why. */
async function deliver() {
  if (delivering) return;
  delivering = true;
  for (let item; (item = items.find((one) => !one.error));) {
    announce("Sending " + item.photo.name);
    try {
      const entry = await send(item);
      arrived(entry);
      withdraw(item);
    } catch (error) {
      item.error = error.message;
      keep(item);
      announce(item.photo.name + " was not accepted: " + error.message);
    }
    changed();
  }
  delivering = false;
}

/** Take an item out. */
export function withdraw(item) {
  release(item);
  forget(item.id);
  items = items.filter((one) => one !== item);
  changed();
}

async function send({ id, how, ...item }) {
  const form = new FormData();
  form.append("id", id); // whatever is sent twice is taken in once
  form.append("photo", item.photo, item.photo.name);
  if (how.way === "picture" && item.prior) form.append("prior", item.prior, item.prior.name);
  if (how.way === "model") {
    form.append("model", how.model);
    form.append("prompt", how.wish);
  }
  for (;;) {
    try {
      return await askJson("/page/restorations", { method: "POST", body: form });
    } catch (error) {
      if (error.status !== 429 || !error.waitSeconds) throw error;
      announce("The server is busy; trying again in " + error.waitSeconds + " seconds");
      await wait(error.waitSeconds);
    }
  }
}

/** Go on with what was waiting when the page was closed. */
export function startOutbox(waiting, calls) {
  ({ arrived, changed } = calls);
  items = [...waiting, ...items];
  changed();
  deliver();
}
