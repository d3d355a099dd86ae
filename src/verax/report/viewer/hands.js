/* Input of the compare viewer: wheel, drag, swipe, pinch, keys. Loaded before the viewer.
 *
 * Wheel and swipe scroll the page as usual: the wheel zooms with Ctrl or ⌘ held
 * and in full screen, and a finger moves the picture once it is zoomed.
 */
"use strict";

window.veraxHands = function veraxHands(view) {
  const { root, stage, state, update, place, zoomBy, scaleIn, clamp, isFull } = view;
  const pointers = new Map(); // id -> last position
  let drag = null;

  const frameOf = (event) => event.target.closest && event.target.closest(".compare-frame");

  function position(event, frame) {
    const box = frame.getBoundingClientRect();
    return { frame, x: event.clientX - box.left, y: event.clientY - box.top };
  }

  function sceneAt(at) {
    const scale = scaleIn(at.frame), size = view.size();
    return [
      clamp(state.x + (at.x - at.frame.clientWidth / 2) / (scale * size.width), 0, 1),
      clamp(state.y + (at.y - at.frame.clientHeight / 2) / (scale * size.height), 0, 1),
    ];
  }

  stage.addEventListener("wheel", (event) => {
    const frame = frameOf(event);
    if (!frame || !(event.ctrlKey || event.metaKey || isFull())) return;
    event.preventDefault();
    zoomBy(Math.exp(-event.deltaY * 0.002), position(event, frame));
  }, { passive: false });

  stage.addEventListener("pointerdown", (event) => {
    const frame = frameOf(event);
    if (!frame || event.button > 0) return;
    frame.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    const at = position(event, frame);
    const whole = state.mode === "slider" && state.zoom === 1 && !event.shiftKey;
    drag = { frame, split: whole || event.target.classList.contains("compare-handle") };
    if (event.shiftKey) drag.start = sceneAt(at);
  });

  stage.addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    if (!last || !drag) return;
    const at = position(event, drag.frame), size = view.size();
    if (pointers.size === 2) pinch(event, at);
    else if (drag.split) update({ split: clamp(at.x / drag.frame.clientWidth, 0, 1) });
    else if (drag.start) {
      const end = sceneAt(at);
      drag.box = [0, 1].map((i) => Math.min(drag.start[i], end[i]))
        .concat([0, 1].map((i) => Math.abs(drag.start[i] - end[i])));
      place();
    } else {
      const scale = scaleIn(drag.frame);
      update({
        x: state.x - (event.clientX - last[0]) / (scale * size.width),
        y: state.y - (event.clientY - last[1]) / (scale * size.height),
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
  const actions = {
    ArrowLeft: () => update({ x: state.x - step() }),
    ArrowRight: () => update({ x: state.x + step() }),
    ArrowUp: () => update({ y: state.y - step() }),
    ArrowDown: () => update({ y: state.y + step() }),
    "+": () => zoomBy(1.5), "=": () => zoomBy(1.5), "-": () => zoomBy(1 / 1.5),
    0: () => update({ zoom: 1, x: 0.5, y: 0.5 }),
    ...view.keys,
  };

  root.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && isFull()) {
      event.stopPropagation();
      view.leave();
      return;
    }
    const typing = event.target.matches("input, textarea, select, button, summary");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || view.empty()) return;
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
    view.announce();
  }, { signal: view.signal });

  return { marked: () => (drag && drag.box ? [drag.box] : []) };
};
