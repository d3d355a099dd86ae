/* The compare viewer: any number of pictures of one scene at one zoom. Used by the report and the
 * web page; no dependencies, no requests of its own.
 *
 *   const viewer = veraxCompare(element, {
 *     panels: [{name: "photo", src: "..."}, {name: "restoration", src: "...", note: "psnr 31.2"}],
 *     overlays: [{name: "motion", src: "..."}],     // optional, drawn over every picture
 *     state: "mode=slider&a=0&b=1",                 // optional, what link() gave
 *     modes: ["slider", "side"],                    // optional, only these ways to compare
 *     onChange: (state) => {},                      // optional, e.g. to keep it in the address
 *   });
 *   viewer.setPanels(panels, overlays); viewer.link(); viewer.setLink(text); viewer.destroy();
 *
 * `src` may also be a function that returns a promise of an address: only visible pictures are fetched.
 *
 * All pictures share the grid of the first one: (x, y) is the centre of the view as a share of its
 * width and height, zoom 1 fits the whole picture. A picture of another shape is fitted inside.
 */
"use strict";

window.veraxCompare = function veraxCompare(root, options) {
  const MODES = [
    ["slider", "Slider", "w", "Left", "Right"],
    ["side", "Side by side", "s", "Left", "Right"],
    ["flicker", "Flicker", "f", "First", "Second"],
    ["difference", "Difference", "d", "First", "Second"],
    ["all", "All", "a", "", ""],
  ].filter(([mode]) => !options.modes || options.modes.includes(mode));
  const MAX_ZOOM = 64;
  const KEYS_HELP =
    "Keys: arrows move, + and - zoom, 0 fits, 1 shows pixels, w slider, s side by side, " +
    "f flicker, d difference, a all, space swaps, [ and ] choose the first picture, { and } the " +
    "second, o overlay, x full screen, shift-drag marks a crop, c clears the crops. " +
    "The wheel zooms with Ctrl or ⌘ held, and in full screen.";

  let panels = [];
  let overlays = [];
  let size = { width: 3, height: 2 }; // of the first picture, px
  const state = {
    mode: MODES[MODES.length - 1][0], a: 0, b: 1, zoom: 1, x: 0.5, y: 0.5, split: 0.5, overlay: -1, boxes: [],
  };
  let swapped = false; // flicker shows B
  let timer = 0;
  const life = new AbortController(); // ends all listeners on `root`

  const make = (tag, className, text) => {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

  // ---- the parts that stay: toolbar, stage, crops, a line for screen readers -------------------
  root.classList.add("compare");
  const bar = make("div", "compare-bar");
  bar.setAttribute("role", "toolbar");
  bar.setAttribute("aria-label", "How to compare");
  const stage = make("div", "compare-stage");
  stage.tabIndex = 0;
  stage.setAttribute("role", "group");
  stage.setAttribute("aria-label", "Pictures. " + KEYS_HELP);
  const crops = make("div", "compare-crops");
  const status = make("p", "compare-status");
  status.setAttribute("role", "status");
  const help = make("details", "compare-help");
  help.append(make("summary", "", "Keys"), make("p", "", KEYS_HELP));
  root.replaceChildren(bar, stage, crops, status, help);

  const group = (className) => {
    const node = make("div", className);
    bar.append(node);
    return node;
  };
  const modes = group("compare-modes"), choices = group("compare-choices"), zooms = group("compare-zooms");
  const modeButtons = MODES.map(([mode, label, key]) => {
    const button = make("button", "", label);
    button.type = "button";
    button.title = label + " (" + key + ")";
    button.addEventListener("click", () => update({ mode }));
    modes.append(button);
    return [mode, button];
  });
  const chooser = (label, key) => {
    const wrap = make("label", "compare-choice");
    const select = make("select");
    select.addEventListener("change", () => update({ [key]: Number(select.value) }));
    wrap.append(make("span", "", label), select);
    choices.append(wrap);
    return select;
  };
  const chooseA = chooser("Left", "a");
  const chooseB = chooser("Right", "b");
  const chooseOverlay = chooser("Overlay", "overlay");
  const zoomButton = (label, title, action) => {
    const button = make("button", "", label);
    button.type = "button";
    button.title = title;
    button.setAttribute("aria-label", title);
    button.addEventListener("click", action);
    zooms.append(button);
  };
  zoomButton("−", "Zoom out (-)", () => zoomBy(1 / 1.5));
  zoomButton("+", "Zoom in (+)", () => zoomBy(1.5));
  zoomButton("Fit", "Fit the whole picture (0)", () => update({ zoom: 1, x: 0.5, y: 0.5 }));
  zoomButton("1:1", "1:1, one picture pixel per screen pixel (1)", () => zoomToPixels());
  zoomButton("Full", "Full screen (x)", () => fullScreen());

  // ---- panes --------------------------------------------------------------------------------
  /** Give an <img> its address, at once or when the promise resolves. */
  function fetchInto(image, src) {
    if (typeof src === "function") src().then((address) => { image.src = address; }, () => {});
    else image.src = src;
  }

  function picture(panel, className) {
    const image = make("img");
    fetchInto(image, panel.src);
    image.alt = panel.name;
    image.draggable = false;
    image.className = ("compare-picture " + (className || "")).trim();
    return image;
  }

  function pane(caption, images) {
    const figure = make("figure", "compare-pane");
    const frame = make("div", "compare-frame");
    const layer = make("div", "compare-layer");
    layer.append(...images);
    frame.append(layer);
    figure.append(frame, make("figcaption", "", caption));
    return figure;
  }

  const captionOf = (panel) => panel.note ? panel.name + " · " + panel.note : panel.name;

  function overlayImages() {
    const overlay = overlays[state.overlay];
    return overlay ? [picture(overlay, "compare-overlay")] : [];
  }

  function build() {
    const a = panels[state.a], b = panels[state.b];
    let panes = [];
    if (panels.length === 0) panes = [];
    else if (state.mode === "all" || state.mode === "side" || panels.length === 1) {
      const several = state.mode === "side" && panels.length > 1 ? [a, b] : panels;
      panes = several.map((panel) => pane(captionOf(panel), [picture(panel), ...overlayImages()]));
    } else if (state.mode === "slider") {
      const figure = pane("left: " + a.name + " · right: " + b.name, [
        picture(a), picture(b, "compare-right"), ...overlayImages(),
      ]);
      figure.firstChild.append(sliderHandle());
      panes = [figure];
    } else if (state.mode === "difference") {
      panes = [differencePane(a, b)];
    } else {
      const front = swapped ? b : a;
      panes = [pane(front.name, [picture(a, swapped ? "compare-hidden" : ""),
        picture(b, swapped ? "" : "compare-hidden"), ...overlayImages()])];
    }
    stage.replaceChildren(...panes);
    stage.dataset.mode = state.mode;
    stage.style.setProperty("--panes", String(Math.max(1, panes.length)));
    buildCrops();
    place();
  }

  function differencePane(a, b) {
    const both = [picture(a), picture(b, "compare-minus")];
    const caption = (light) => "difference of " + a.name + " and " + b.name + ", " +
      (light.first > 1 ? a.name + " brightened first, " : light.second > 1 ? b.name + " brightened first, " : "") +
      Number(light.gain.toPrecision(2)) + " times as bright";
    const figure = pane("", both);
    figure.classList.add("compare-difference");
    Promise.all(both.map((image) => whenLoaded(image).catch(() => {}))).then(() => {
      const light = readable(...both);
      both[0].style.filter = "brightness(" + light.first + ")";
      both[1].style.filter = "brightness(" + light.second + ")";
      figure.querySelector(".compare-layer").style.filter = "brightness(" + light.gain + ")";
      figure.lastChild.textContent = caption(light);
    });
    return figure;
  }

  const whenLoaded = (image) => image.complete && image.src ? Promise.resolve() : new Promise((resolve, reject) => {
    image.addEventListener("load", resolve, { once: true });
    image.addEventListener("error", reject, { once: true });
  });

  /** Light for the darker of two pictures, and how much brighter their difference is to be drawn.
   * A page opened from a file may not read its pictures: four times as bright then. */
  function readable(a, b) {
    const side = 96, canvas = make("canvas");
    canvas.width = canvas.height = side;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const levels = (image) => {
      context.drawImage(image, 0, 0, side, side);
      return context.getImageData(0, 0, side, side).data;
    };
    try {
      const [p, q] = [levels(a), levels(b)];
      const ratio = clamp((q.reduce((sum, v) => sum + v, 0) - 255 * side * side) /
        Math.max(1, p.reduce((sum, v) => sum + v, 0) - 255 * side * side), 1 / 8, 8);
      const first = ratio > 1.5 ? ratio : 1, second = ratio < 1 / 1.5 ? 1 / ratio : 1;
      const steps = p.map((v, i) => Math.abs(Math.min(255, v * first) - Math.min(255, q[i] * second)))
        .filter((_, i) => i % 4 !== 3).sort();
      return { first, second, gain: clamp(200 / Math.max(1, steps[Math.floor(steps.length * 0.95)]), 1, 24) };
    } catch {
      return { first: 1, second: 1, gain: 4 };
    }
  }

  function sliderHandle() {
    const handle = make("div", "compare-handle");
    handle.tabIndex = 0;
    handle.setAttribute("role", "slider");
    handle.setAttribute("aria-label", "Border between left and right");
    handle.setAttribute("aria-valuemin", "0");
    handle.setAttribute("aria-valuemax", "100");
    handle.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -0.02, ArrowRight: 0.02, Home: -1, End: 1 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      update({ split: clamp(state.split + step, 0, 1) });
    });
    return handle;
  }

  function buildCrops() {
    crops.replaceChildren(...state.boxes.map((box, index) => {
      const row = make("div", "compare-crop-row");
      row.append(make("span", "compare-crop-name", "crop " + (index + 1)));
      panels.forEach((panel) => {
        const figure = make("figure", "compare-crop");
        const frame = make("div", "compare-crop-frame");
        frame.style.aspectRatio = box[2] * size.width + " / " + box[3] * size.height;
        const image = picture(panel);
        image.style.width = 100 / box[2] + "%";
        image.style.height = 100 / box[3] + "%";
        image.style.left = (-100 * box[0]) / box[2] + "%";
        image.style.top = (-100 * box[1]) / box[3] + "%";
        frame.append(image);
        figure.append(frame, make("figcaption", "", captionOf(panel)));
        row.append(figure);
      });
      return row;
    }));
  }

  // ---- geometry -----------------------------------------------------------------------------
  function frames() {
    return Array.from(stage.querySelectorAll(".compare-frame"));
  }

  function scaleIn(frame) {
    const fit = Math.min(frame.clientWidth / size.width, frame.clientHeight / size.height);
    return (fit || 1) * state.zoom;
  }

  function place() {
    stage.style.setProperty("--aspect", String(size.width / size.height));
    stage.classList.toggle("compare-near", state.zoom > 1 || isFull());
    for (const frame of frames()) {
      const scale = scaleIn(frame);
      const width = size.width * scale, height = size.height * scale;
      const left = frame.clientWidth / 2 - state.x * width;
      const top = frame.clientHeight / 2 - state.y * height;
      const layer = frame.firstChild;
      layer.style.width = width + "px";
      layer.style.height = height + "px";
      layer.style.transform = "translate(" + left + "px, " + top + "px)";
      layer.classList.toggle("compare-pixels", scale >= 3);
      const right = layer.querySelector(".compare-right");
      if (right) {
        const edge = frame.clientWidth * state.split;
        right.style.clipPath = "inset(0 0 0 " + clamp((edge - left) / width, 0, 1) * 100 + "%)";
        const handle = frame.querySelector(".compare-handle");
        handle.style.left = state.split * 100 + "%";
        handle.setAttribute("aria-valuenow", String(Math.round(state.split * 100)));
      }
      frame.querySelectorAll(".compare-box").forEach((node) => node.remove());
      for (const box of [...state.boxes, ...hands.marked()]) {
        const node = make("div", "compare-box");
        node.style.cssText = "left:" + box[0] * 100 + "%;top:" + box[1] * 100 + "%;width:" +
          box[2] * 100 + "%;height:" + box[3] * 100 + "%";
        layer.append(node);
      }
    }
  }

  function zoomBy(factor, at) {
    const zoom = clamp(state.zoom * factor, 1, MAX_ZOOM);
    const frame = at ? at.frame : frames()[0];
    if (!frame) return;
    const before = scaleIn(frame);
    const offset = at ? [at.x - frame.clientWidth / 2, at.y - frame.clientHeight / 2] : [0, 0];
    const gain = 1 / before - 1 / ((before / state.zoom) * zoom);
    update({
      zoom,
      x: clamp(state.x + (offset[0] * gain) / size.width, 0, 1),
      y: clamp(state.y + (offset[1] * gain) / size.height, 0, 1),
    });
  }

  function zoomToPixels() {
    const frame = frames()[0];
    if (!frame) return;
    const fit = scaleIn(frame) / state.zoom;
    update({ zoom: clamp(1 / (fit * window.devicePixelRatio), 1, MAX_ZOOM) });
  }

  // ---- state --------------------------------------------------------------------------------
  function update(change) {
    if ("mode" in change && !MODES.some(([mode]) => mode === change.mode)) return;
    const rebuild = ["mode", "a", "b", "overlay", "boxes"].some((key) => key in change);
    Object.assign(state, change);
    // the view stays inside the picture; at zoom 1 it shows all of it
    for (const key of ["x", "y"]) state[key] = clamp(state[key], 0.5 / state.zoom, 1 - 0.5 / state.zoom);
    if (panels.length > 0) { // a link may name panels that do not exist
      state.a = clamp(state.a, 0, panels.length - 1);
      state.b = clamp(state.b, 0, panels.length - 1);
    }
    if (rebuild) {
      if ("mode" in change) swapped = false;
      build();
    } else place();
    refreshBar();
    if (options.onChange) options.onChange(link());
  }

  function refreshBar() {
    for (const [mode, button] of modeButtons) {
      button.setAttribute("aria-pressed", String(mode === state.mode));
      button.disabled = panels.length < 2;
      button.hidden = mode === "all" && panels.length < 3;
    }
    fill(chooseA, panels, state.a);
    fill(chooseB, panels, state.b);
    fill(chooseOverlay, [{ name: "none" }, ...overlays], state.overlay + 1, -1);
    const [, , , left, right] = MODES.find(([mode]) => mode === state.mode);
    chooseA.previousSibling.textContent = left;
    chooseB.previousSibling.textContent = right;
    chooseA.parentNode.hidden = chooseB.parentNode.hidden = state.mode === "all" || panels.length < 2;
    chooseOverlay.parentNode.hidden = overlays.length === 0;
  }

  function fill(select, entries, index, shift) {
    const names = entries.map((entry) => entry.name).join("\n");
    if (select.dataset.names !== names) {
      select.dataset.names = names;
      select.replaceChildren(...entries.map((entry, i) => {
        const option = make("option", "", entry.name);
        option.value = String(i + (shift || 0));
        return option;
      }));
    }
    select.selectedIndex = index;
  }

  function link() {
    const values = new URLSearchParams();
    for (const key of ["mode", "a", "b", "overlay"]) values.set(key, String(state[key]));
    for (const key of ["zoom", "x", "y", "split"]) values.set(key, state[key].toFixed(4));
    for (const box of state.boxes) values.append("box", box.map((v) => v.toFixed(4)).join(","));
    return values.toString();
  }

  function setLink(text) {
    const values = new URLSearchParams(text);
    const change = {};
    const number = (key, low, high) => {
      const value = Number.parseFloat(values.get(key));
      if (Number.isFinite(value)) change[key] = clamp(value, low, high);
    };
    if (MODES.some(([mode]) => mode === values.get("mode"))) change.mode = values.get("mode");
    for (const key of ["a", "b"]) number(key, 0, Math.max(0, panels.length - 1));
    number("overlay", -1, overlays.length - 1);
    number("zoom", 1, MAX_ZOOM);
    for (const key of ["x", "y", "split"]) number(key, 0, 1);
    for (const key of ["a", "b", "overlay"]) {
      if (key in change) change[key] = Math.round(change[key]);
    }
    change.boxes = values.getAll("box").map((box) => box.split(",").map(Number))
      .filter((box) => box.length === 4 && box.every((v) => v >= 0 && v <= 1)
        && box[2] > 0 && box[3] > 0);
    update(change);
  }

  function swap() {
    if (state.mode !== "flicker") return;
    swapped = !swapped;
    const images = stage.querySelectorAll(".compare-picture:not(.compare-overlay)");
    if (images.length < 2) return;
    images[0].classList.toggle("compare-hidden", swapped);
    images[1].classList.toggle("compare-hidden", !swapped);
    const name = panels[swapped ? state.b : state.a].name;
    stage.querySelector("figcaption").textContent = name;
  }

  // ---- full screen ----------------------------------------------------------------------------
  const isFull = () => root.classList.contains("compare-full");

  function fullScreen(on = !isFull()) {
    root.classList.toggle("compare-full", on);
    if (on) root.requestFullscreen?.().catch(() => {}); // without full screen, it fills the window
    else if (document.fullscreenElement === root) document.exitFullscreen();
    place();
    stage.focus();
  }
  root.addEventListener("fullscreenchange", () => {
    if (isFull() && !document.fullscreenElement) fullScreen(false);
  }, { signal: life.signal });

  const keys = {
    s: () => update({ mode: "side" }), w: () => update({ mode: "slider" }),
    f: () => update({ mode: "flicker" }), d: () => update({ mode: "difference" }),
    a: () => update({ mode: "all" }), x: () => fullScreen(),
    " ": swap, c: () => update({ boxes: [] }), 1: zoomToPixels,
    o: () => update({ overlay: state.overlay + 1 < overlays.length ? state.overlay + 1 : -1 }),
  };
  const turn = (key, by) => update({ [key]: (state[key] + by + panels.length) % panels.length });
  Object.entries({ "[": ["a", -1], "]": ["a", 1], "{": ["b", -1], "}": ["b", 1] })
    .forEach(([key, change]) => { keys[key] = () => turn(...change); });
  const hands = window.veraxHands({
    root, stage, state, update, place, zoomBy, scaleIn, clamp, isFull, announce, keys,
    size: () => size, empty: () => panels.length === 0, leave: () => fullScreen(false), signal: life.signal,
  });

  function announce() {
    const pair = panels.length > 1 && state.mode !== "all"
      ? ": " + panels[state.a].name + " and " + panels[state.b].name : "";
    const label = MODES.find(([mode]) => mode === state.mode)[1];
    status.textContent = label + pair + ", zoom " + Math.round(state.zoom * 100) + " %";
  }

  // ---- life ---------------------------------------------------------------------------------
  function setPanels(nextPanels, nextOverlays) {
    panels = nextPanels || [];
    overlays = nextOverlays || [];
    state.overlay = Math.min(state.overlay, overlays.length - 1);
    if (panels.length > 0) {
      const first = new Image();
      first.addEventListener("load", () => {
        size = { width: first.naturalWidth || 3, height: first.naturalHeight || 2 };
        buildCrops();
        place();
      });
      fetchInto(first, panels[0].src);
    }
    update({ a: state.a });
  }

  const still = window.matchMedia("(prefers-reduced-motion: reduce)");
  timer = window.setInterval(() => {
    if (state.mode === "flicker" && !still.matches && !document.hidden) swap();
  }, 700);
  const watcher = new ResizeObserver(place);
  watcher.observe(stage);

  setPanels(options.panels, options.overlays);
  if (options.state) setLink(options.state);

  return {
    setPanels,
    link,
    setLink,
    state,
    destroy() {
      window.clearInterval(timer);
      watcher.disconnect();
      life.abort();
      root.classList.remove("compare-full");
      root.replaceChildren();
    },
  };
};
