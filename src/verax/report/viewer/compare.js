/* The compare viewer: any number of pictures of one scene at one zoom. Used by the report and the
 * web page; no dependencies, no requests of its own.
 *
 *   const viewer = veraxCompare(element, {
 *     panels: [{name: "photo", src: "..."}, {name: "restoration", src: "...", note: "psnr 31.2"}],
 *     overlays: [{name: "motion", src: "..."}],     // optional, drawn over every picture
 *     state: "mode=slider&a=0&b=1",                 // optional, what link() gave
 *     onChange: (state) => {},                      // optional, e.g. to keep it in the address
 *   });
 *   viewer.setPanels(panels, overlays); viewer.link(); viewer.setLink(text); viewer.destroy();
 *   viewer.setShare(0.6);                           // of every panel that has `under`, see below
 *
 * A panel {name, src, under} shows its picture mixed with another of the same size: `share` of
 * `src` and the rest of `under`, linear in the stored values; it starts with all of `src`.
 *
 * `src` and `under` may also be functions that promise an address: only what is shown is fetched.
 *
 * All pictures share the grid of the first one: (x, y) is the centre of the view as a share of its
 * width and height, zoom 1 fits the whole picture. A picture of another shape is fitted inside.
 */
"use strict";

window.veraxCompare = function veraxCompare(root, options) {
  const MODES = [
    ["side", "Side by side", "s"],
    ["slider", "Slider", "w"],
    ["flicker", "Flicker", "f"],
    ["difference", "Difference", "d"],
  ];
  const MAX_ZOOM = 64;
  const KEYS_HELP =
    "Keys: arrows move, + and - zoom, 0 fits, 1 shows pixels, s side by side, w slider, " +
    "f flicker, d difference, space swaps, [ and ] choose A, { and } choose B, o overlay, " +
    "shift-drag marks a crop, c clears the crops.";

  let panels = [];
  let overlays = [];
  let size = { width: 3, height: 2 }; // of the first picture, px
  const state = {
    mode: "side", a: 0, b: 1, zoom: 1, x: 0.5, y: 0.5, split: 0.5, overlay: -1, boxes: [],
  };
  let swapped = false; // flicker shows B
  let timer = 0;
  let share = 1; // of `src` over `under`
  const pointers = new Map();
  let drag = null;

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

  const modeButtons = MODES.map(([mode, label, key]) => {
    const button = make("button", "", label);
    button.type = "button";
    button.title = label + " (" + key + ")";
    button.addEventListener("click", () => update({ mode }));
    bar.append(button);
    return [mode, button];
  });
  const chooser = (label, key) => {
    const wrap = make("label", "compare-choice", label + " ");
    const select = make("select");
    select.addEventListener("change", () => update({ [key]: Number(select.value) }));
    wrap.append(select);
    bar.append(wrap);
    return select;
  };
  const chooseA = chooser("A", "a");
  const chooseB = chooser("B", "b");
  const chooseOverlay = chooser("Overlay", "overlay");
  const zoomButton = (label, title, action) => {
    const button = make("button", "", label);
    button.type = "button";
    button.title = title;
    button.setAttribute("aria-label", title);
    button.addEventListener("click", action);
    bar.append(button);
  };
  zoomButton("−", "Zoom out (-)", () => zoomBy(1 / 1.5));
  zoomButton("+", "Zoom in (+)", () => zoomBy(1.5));
  zoomButton("Fit", "Fit the whole picture (0)", () => update({ zoom: 1, x: 0.5, y: 0.5 }));
  zoomButton("1:1", "1:1, one picture pixel per screen pixel (1)", () => zoomToPixels());

  // ---- panes --------------------------------------------------------------------------------
  /** Give an <img> its address, now or when it is there. */
  function fetchInto(image, src) {
    if (typeof src === "function") src().then((address) => { image.src = address; }, () => {});
    else image.src = src;
  }

  function picture(panel, className) {
    const image = make("img");
    fetchInto(image, panel.src);
    image.alt = panel.name;
    image.draggable = false;
    let whole = image;
    if (panel.under) {
      const under = make("img");
      fetchInto(under, panel.under);
      under.alt = "";
      under.draggable = false;
      image.className = "compare-over";
      image.style.opacity = String(share);
      whole = make("div");
      whole.append(under, image);
    }
    whole.className = ("compare-picture " + (className || "") + " " + whole.className).trim();
    return whole;
  }

  function setShare(value) {
    share = clamp(value, 0, 1);
    root.querySelectorAll(".compare-over").forEach((image) => {
      image.style.opacity = String(share);
    });
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
    const chosen = overlays[state.overlay];
    return chosen ? [picture(chosen, "compare-overlay")] : [];
  }

  function build() {
    const a = panels[state.a], b = panels[state.b];
    let panes = [];
    if (panels.length === 0) panes = [];
    else if (state.mode === "side" || panels.length === 1) {
      panes = panels.map((panel) => pane(captionOf(panel), [picture(panel), ...overlayImages()]));
    } else if (state.mode === "slider") {
      const figure = pane("left: " + a.name + " · right: " + b.name, [
        picture(a), picture(b, "compare-right"), ...overlayImages(),
      ]);
      figure.firstChild.append(sliderHandle());
      panes = [figure];
    } else if (state.mode === "difference") {
      const figure = pane("|" + a.name + " − " + b.name + "|, four times as bright", [
        picture(a), picture(b, "compare-minus"),
      ]);
      figure.classList.add("compare-difference");
      panes = [figure];
    } else {
      const shown = swapped ? b : a;
      panes = [pane(shown.name, [picture(a, swapped ? "compare-hidden" : ""),
        picture(b, swapped ? "" : "compare-hidden"), ...overlayImages()])];
    }
    stage.replaceChildren(...panes);
    stage.dataset.mode = state.mode;
    stage.style.setProperty("--panes", String(Math.max(1, panes.length)));
    buildCrops();
    place();
  }

  function sliderHandle() {
    const handle = make("div", "compare-handle");
    handle.tabIndex = 0;
    handle.setAttribute("role", "slider");
    handle.setAttribute("aria-label", "Border between A and B");
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
    stage.style.setProperty("--aspect", size.width + " / " + size.height);
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
      for (const box of drag && drag.box ? [...state.boxes, drag.box] : state.boxes) {
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
    const rebuild = ["mode", "a", "b", "overlay", "boxes"].some((key) => key in change);
    Object.assign(state, change);
    if (panels.length > 0) { // a link may name more panels than there are
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
    }
    fill(chooseA, panels, state.a);
    fill(chooseB, panels, state.b);
    fill(chooseOverlay, [{ name: "none" }, ...overlays], state.overlay + 1, -1);
    chooseA.parentNode.hidden = chooseB.parentNode.hidden =
      state.mode === "side" || panels.length < 2;
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

  // ---- hands: wheel, drag, pinch, keys ----------------------------------------------------------
  const frameOf = (event) => event.target.closest && event.target.closest(".compare-frame");

  function position(event, frame) {
    const box = frame.getBoundingClientRect();
    return { frame, x: event.clientX - box.left, y: event.clientY - box.top };
  }

  function sceneAt(at) {
    const scale = scaleIn(at.frame);
    return [
      clamp(state.x + (at.x - at.frame.clientWidth / 2) / (scale * size.width), 0, 1),
      clamp(state.y + (at.y - at.frame.clientHeight / 2) / (scale * size.height), 0, 1),
    ];
  }

  stage.addEventListener("wheel", (event) => {
    const frame = frameOf(event);
    if (!frame) return;
    event.preventDefault();
    zoomBy(Math.exp(-event.deltaY * 0.002), position(event, frame));
  }, { passive: false });

  stage.addEventListener("pointerdown", (event) => {
    const frame = frameOf(event);
    if (!frame || event.button > 0) return;
    frame.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    const at = position(event, frame);
    drag = { frame, split: event.target.classList.contains("compare-handle") };
    if (event.shiftKey) drag.start = sceneAt(at);
  });

  stage.addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    if (!last || !drag) return;
    const at = position(event, drag.frame);
    if (drag.split) update({ split: clamp(at.x / drag.frame.clientWidth, 0, 1) });
    else if (drag.start) {
      const end = sceneAt(at);
      drag.box = [0, 1].map((i) => Math.min(drag.start[i], end[i]))
        .concat([0, 1].map((i) => Math.abs(drag.start[i] - end[i])));
      place();
    } else if (pointers.size === 2) pinch(event, at);
    else {
      const scale = scaleIn(drag.frame);
      update({
        x: clamp(state.x - (event.clientX - last[0]) / (scale * size.width), 0, 1),
        y: clamp(state.y - (event.clientY - last[1]) / (scale * size.height), 0, 1),
      });
    }
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
  });

  function pinch(event, at) {
    const other = Array.from(pointers.entries()).find(([id]) => id !== event.pointerId)[1];
    const before = pointers.get(event.pointerId);
    const distance = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]);
    zoomBy(distance([event.clientX, event.clientY]) / Math.max(1, distance(before)), at);
  }

  function release(event) {
    if (!pointers.delete(event.pointerId) || pointers.size > 0) return;
    const box = drag && drag.box;
    drag = null;
    if (box && box[2] > 0.005 && box[3] > 0.005) update({ boxes: [...state.boxes, box] });
    else place();
  }
  stage.addEventListener("pointerup", release);
  stage.addEventListener("pointercancel", release);

  const step = () => 0.1 / state.zoom;
  const turn = (key, by) => () =>
    update({ [key]: (state[key] + by + panels.length) % panels.length });
  const ACTIONS = {
    ArrowLeft: () => update({ x: clamp(state.x - step(), 0, 1) }),
    ArrowRight: () => update({ x: clamp(state.x + step(), 0, 1) }),
    ArrowUp: () => update({ y: clamp(state.y - step(), 0, 1) }),
    ArrowDown: () => update({ y: clamp(state.y + step(), 0, 1) }),
    "+": () => zoomBy(1.5), "=": () => zoomBy(1.5), "-": () => zoomBy(1 / 1.5),
    0: () => update({ zoom: 1, x: 0.5, y: 0.5 }), 1: zoomToPixels,
    s: () => update({ mode: "side" }), w: () => update({ mode: "slider" }),
    f: () => update({ mode: "flicker" }), d: () => update({ mode: "difference" }),
    " ": swap, c: () => update({ boxes: [] }),
    "[": turn("a", -1), "]": turn("a", 1), "{": turn("b", -1), "}": turn("b", 1),
    o: () => update({ overlay: state.overlay + 1 < overlays.length ? state.overlay + 1 : -1 }),
  };

  root.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input, textarea, select, button, summary");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || panels.length === 0) return;
    const action = ACTIONS[event.key];
    if (!action) return;
    event.preventDefault();
    action();
    announce();
  });

  function announce() {
    const pair = panels.length > 1 && state.mode !== "side"
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
    setShare,
    link,
    setLink,
    state,
    destroy() {
      window.clearInterval(timer);
      watcher.disconnect();
      root.replaceChildren();
    },
  };
};
