/* Requests to the server, and helpers for page elements.
 * Texts of files, prompts and answers are only inserted as text nodes. */

const KEY = "verax-key";
const HERE = new URL(".", import.meta.url).pathname; // the path under which the page is served

/** An element; `properties` are set as properties, children are elements or text. */
export function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("aria-") || name === "role") node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children);
  return node;
}

export const byId = (id) => document.getElementById(id);

/** Announce a text to screen readers (aria-live polite). */
export function announce(text) {
  byId("live").textContent = text;
}

/** Show an error at the top of the page, or clear it. */
export function trouble(text) {
  const box = byId("trouble");
  box.hidden = !text;
  box.textContent = text || "";
  if (text) box.scrollIntoView({ block: "nearest" });
}

let asking = null; // promise of the open key dialog

function askForKey(wrong) {
  if (asking) return asking;
  const dialog = byId("key-dialog");
  byId("key").value = "";
  if (wrong) byId("key-note").textContent = "The server does not know this key. Enter another one.";
  asking = new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      asking = null;
      const key = byId("key").value.trim();
      if (key) sessionStorage.setItem(KEY, key);
      resolve(Boolean(key));
    }, { once: true });
  });
  dialog.showModal();
  return asking;
}

let back = null; // a promise while the server does not answer

/** Show a message until the server answers again; the promise then resolves. */
function answering() {
  back ??= (async () => {
    byId("lost").hidden = false;
    for (let pause = 1; ; pause = Math.min(2 * pause, 15)) {
      await Promise.race([wait(pause), once(window, "online"), once(byId("lost-now"), "click")]);
      const answer = await fetch(HERE + "healthz", { cache: "no-store" }).catch(() => null);
      if (answer?.ok) break;
    }
    byId("lost").hidden = true;
    announce("The server answers again");
    back = null;
  })();
  return back;
}

const once = (target, name) =>
  new Promise((resolve) => { target.addEventListener(name, resolve, { once: true }); });

/** Whether a proxy answered because the server is down: an error of the server itself is JSON. */
const nobody = (response) => [502, 503, 504].includes(response.status)
  && !(response.headers.get("content-type") || "").includes("json");

const TRIES = 4; // attempts of a request that fails although the server answers others

/** Send a request and return the response. Asks the user for a key if the server needs one, and waits while the
 * server does not answer. Throws Error with the message of an error answer. */
export async function ask(path, options = {}) {
  for (let tries = 1; ; tries += 1) {
    const key = sessionStorage.getItem(KEY);
    const headers = { ...options.headers };
    if (key) headers.authorization = "Bearer " + key;
    const response = await fetch(HERE + path.slice(1), { ...options, headers }).catch(() => null);
    if (!response || nobody(response)) {
      if (tries === TRIES) throw new Error("The connection failed several times. Check that the chosen file still exists, then try again.");
      await answering();
      continue;
    }
    if (response.status === 401) {
      if (sessionStorage.getItem(KEY) === key) sessionStorage.removeItem(KEY);
      if (sessionStorage.getItem(KEY) || (await askForKey(Boolean(key)))) continue;
    }
    if (response.ok || response.status === 304) return response;
    const payload = await response.json().catch(() => ({}));
    const error = new Error(payload.error?.message || "The server answered with status " + response.status + ".");
    error.status = response.status;
    error.waitSeconds = Number(response.headers.get("retry-after")) || 0;
    throw error;
  }
}

export const askJson = async (path, options) => (await ask(path, options)).json();

let history = { tag: "", entries: [] }; // the last answer

/** Every entry of this user, newest first; the server sends them only after a change. */
export async function historyEntries() {
  const headers = history.tag ? { "if-none-match": history.tag } : {};
  const response = await ask("/page/history", { headers });
  if (response.status === 304) return history.entries;
  const { entries } = await response.json();
  history = { tag: response.headers.get("etag") || "", entries };
  return entries;
}

/** The JSON of an answer, or null after any error; for requests that the user did not start. */
export async function tryJson(path, options) {
  const key = sessionStorage.getItem(KEY);
  const headers = key ? { authorization: "Bearer " + key } : {};
  const response = await fetch(HERE + path.slice(1), { ...options, headers }).catch(() => null);
  return response?.ok ? response.json().catch(() => null) : null;
}

const tabs = "BroadcastChannel" in window ? new BroadcastChannel("verax " + HERE) : null;

/** Tell the other tabs that something changed. */
export const tellTabs = () => tabs?.postMessage("changed");

/** Call when another tab changed something, or the user comes back to this one. */
export function whenChanged(refresh) {
  tabs?.addEventListener("message", refresh);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
}

let undoing = 0;
const UNDO_SECONDS = 12;

/** Show an offer to undo a deletion, for a while. */
export function offerUndo(words, bringBack) {
  const turn = (undoing += 1);
  const close = () => { if (turn === undoing) byId("undo").hidden = true; };
  byId("undo-words").textContent = words;
  byId("undo").hidden = false;
  byId("undo-go").onclick = () => {
    close();
    bringBack().catch((error) => trouble(error.message));
  };
  wait(UNDO_SECONDS).then(close);
}

const addresses = new Map(); // path -> object URL; each picture is fetched once
const LOADING_MS = 1000; // an <img> reads an address a moment after it was set

/** An object URL for a picture that needs the client's key. */
export function pictureAddress(id, name) {
  const path = "/page/history/" + id + "/" + name + ".png";
  if (!addresses.has(path)) {
    const address = ask(path).then(async (response) => URL.createObjectURL(await response.blob()));
    address.catch(() => addresses.delete(path));
    addresses.set(path, address);
  }
  return addresses.get(path);
}

/** Release an entry's pictures from memory, except those in `keep`. */
export function forgetPictures(id, keep = []) {
  for (const [path, promise] of addresses) {
    const name = path.split("/").pop().replace(".png", "");
    if (!path.startsWith("/page/history/" + id + "/") || keep.includes(name)) continue;
    addresses.delete(path);
    promise.then(revoke, () => {});
  }
}

/** Release an object URL; images that were given it just now can still load. */
export function revoke(address) {
  window.setTimeout(() => URL.revokeObjectURL(address), LOADING_MS);
}

const fill = new WeakMap(); // <img> that is not visible yet -> the function that loads it
const watcher = new IntersectionObserver((changes) => {
  for (const { target, isIntersecting } of changes) {
    if (!isIntersecting) continue;
    watcher.unobserve(target);
    fill.get(target)?.();
    fill.delete(target);
  }
}, { rootMargin: "300px" });

/** An <img> of an entry's picture, fetched when it comes into view. */
export function entryPicture(entry, name, properties) {
  const image = make("img", properties);
  fill.set(image, () => {
    pictureAddress(entry.id, name).then((address) => { image.src = address; }, () => {});
  });
  watcher.observe(image);
  return image;
}

/** Save a file from the server under the name in its headers. */
export async function save(path) {
  const response = await ask(path);
  const disposition = response.headers.get("content-disposition") || "";
  const name = decodeURIComponent(/filename\*=UTF-8''([^;]+)/.exec(disposition)?.[1] || "download");
  const address = URL.createObjectURL(await response.blob());
  const link = make("a", { href: address, download: name });
  link.click();
  window.setTimeout(() => URL.revokeObjectURL(address), 60_000);
  return name;
}

export const wait = (seconds) =>
  new Promise((resolve) => { window.setTimeout(resolve, seconds * 1000); });

/** A price in US dollars as text. */
export function dollars(value) {
  if (value === null || value === undefined) return "unknown";
  return "$" + (value < 0.1 ? value.toFixed(3) : value.toFixed(2));
}

const prices = new Map(); // request -> price

function price(wish) {
  const question = String(new URLSearchParams(wish));
  if (!prices.has(question)) {
    const answer = askJson("/page/price?" + question);
    answer.catch(() => prices.delete(question));
    prices.set(question, answer);
  }
  return prices.get(question);
}

/** The total price of several requests, in one sentence. */
export async function priceSentence(wishes) {
  const answers = await Promise.all(wishes.map(price));
  const unknown = answers.find((one) => one.expected_usd === null);
  if (unknown) return "Price unknown: " + (unknown.note || "Verax knows none for this model.");
  const [expected, high] = ["expected_usd", "high_usd"].map((name) =>
    answers.reduce((sum, one) => sum + one[name], 0));
  if (high === 0) return "This service is free of charge.";
  const many = wishes.length > 1 ? " for " + wishes.length + " photos" : "";
  return "About " + dollars(expected) + ", at most " + dollars(high) + many + ".";
}
