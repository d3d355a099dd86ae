/* Uploads: sent one after another, and kept in the browser until the server has them. */

import { release } from "./choose.js";
import { announce, askJson, wait } from "./server.js";
import { forget, keep } from "./store.js";

let items = []; // photos with `how` to restore them, and `error` if the server refused one
let delivering = false;
let onArrival = () => {}; // gets the entry
let onChange = () => {};

export const outbox = () => items;

/** Store items in the browser, so that a reload loses none, and send them. */
export async function post(more) {
  await Promise.all(more.map(keep));
  items.push(...more);
  deliver();
  onChange();
}

/** Send refused items again. */
export function repost(item) {
  item.error = "";
  deliver();
  onChange();
}

/** Send all items one after another; a refused one stays in the outbox with its error. */
async function deliver() {
  if (delivering) return;
  delivering = true;
  for (let item; (item = items.find((one) => !one.error));) {
    announce("Sending " + item.photo.name);
    try {
      const entry = await send(item);
      onArrival(entry);
      withdraw(item);
    } catch (error) {
      item.error = error.message;
      keep(item);
      announce(item.photo.name + " was not accepted by the server: " + error.message);
    }
    onChange();
  }
  delivering = false;
}

/** Remove an item. */
export function withdraw(item) {
  release(item);
  forget(item.id);
  items = items.filter((one) => one !== item);
  onChange();
}

async function send({ id, how, ...item }) {
  const form = new FormData();
  form.append("id", id); // the server accepts each id once
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

/** Continue with items that were waiting when the page was closed. */
export function startOutbox(waiting, calls) {
  ({ onArrival, onChange } = calls);
  items = [...waiting, ...items];
  onChange();
  deliver();
}
