// The result page. After 'Explain this prediction', focus moves to the heading, because the button is gone.
document.addEventListener("htmx:afterSwap", (event) => {
  const asked = event.detail.requestConfig.elt?.getAttribute("hx-target") === "#why";
  if (asked && document.activeElement === document.body) {
    document.getElementById("why-title")?.focus({ preventScroll: true });
  }
});

// A frame on the photo: drawn, moved and sized with a pointer or the arrow keys. The form's four
// numbers, in percent of the photo's sides, hold what it shows; without this script they are typed in.
document.addEventListener("DOMContentLoaded", () => {
  const panel = document.querySelector("details[data-crop]");
  const tool = panel && document.querySelector(panel.dataset.crop);
  if (!tool) return;

  const form = panel.querySelector(".ask-form");
  const shade = tool.querySelector(".crop-shade");
  const box = tool.querySelector(".crop-box");
  const corners = [...tool.querySelectorAll(".crop-corner")];
  const { width: photoWidth, height: photoHeight } = tool.viewBox.baseVal;
  const LEAST = 2;
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const number = (name) => Number.parseFloat(form.elements[name].value.replace(",", "."));

  const read = () => {
    const left = clamp(number("left") || 0, 0, 100 - LEAST);
    const top = clamp(number("top") || 0, 0, 100 - LEAST);
    return {
      left,
      top,
      right: clamp(left + (number("width") || 0), left + LEAST, 100),
      bottom: clamp(top + (number("height") || 0), top + LEAST, 100),
    };
  };
  const write = ({ left, top, right, bottom }) => {
    const figures = { left, top, width: right - left, height: bottom - top };
    for (const [name, value] of Object.entries(figures)) form.elements[name].value = Math.round(value * 10) / 10;
    draw();
  };
  const set = (element, attributes) => {
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  };
  // Pixels of the photo a pixel of the screen.
  const scale = () => 1 / (tool.getScreenCTM()?.a || 1);

  const draw = () => {
    const part = read();
    const x = (part.left * photoWidth) / 100;
    const y = (part.top * photoHeight) / 100;
    const width = ((part.right - part.left) * photoWidth) / 100;
    const height = ((part.bottom - part.top) * photoHeight) / 100;
    set(box, { x, y, width, height });
    set(shade, {
      d: `M0 0H${photoWidth}V${photoHeight}H0ZM${x} ${y}V${y + height}H${x + width}V${y}Z`,
    });
    const side = 22 * scale();
    for (const corner of corners) {
      const [vertical, horizontal] = corner.dataset.corner;
      set(corner, {
        x: x + (horizontal === "e" ? width : 0) - side / 2,
        y: y + (vertical === "s" ? height : 0) - side / 2,
        width: side,
        height: side,
      });
    }
  };

  const place = (event) => {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(tool.getScreenCTM().inverse());
    return {
      x: clamp((100 * point.x) / photoWidth, 0, 100),
      y: clamp((100 * point.y) / photoHeight, 0, 100),
    };
  };
  const spanned = (from, to) => {
    const left = Math.min(from.x, to.x, 100 - LEAST);
    const top = Math.min(from.y, to.y, 100 - LEAST);
    return {
      left,
      top,
      right: Math.max(from.x, to.x, left + LEAST),
      bottom: Math.max(from.y, to.y, top + LEAST),
    };
  };
  const moved = (part, x, y) => {
    const right = clamp(x, -part.left, 100 - part.right);
    const down = clamp(y, -part.top, 100 - part.bottom);
    return {
      left: part.left + right,
      top: part.top + down,
      right: part.right + right,
      bottom: part.bottom + down,
    };
  };

  // What a drag does follows from where it begins: a corner, the frame, or beside it.
  let follow = null;
  tool.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const start = place(event);
    const part = read();
    const corner = event.target.dataset?.corner;
    if (corner) {
      const fixed = {
        x: corner[1] === "e" ? part.left : part.right,
        y: corner[0] === "s" ? part.top : part.bottom,
      };
      follow = (now) => spanned(fixed, now);
    } else if (event.target === box) {
      follow = (now) => moved(part, now.x - start.x, now.y - start.y);
    } else {
      follow = (now) => spanned(start, now);
    }
    tool.setPointerCapture(event.pointerId);
    tool.focus({ preventScroll: true });
    event.preventDefault();
  });
  tool.addEventListener("pointermove", (event) => {
    if (follow) write(follow(place(event)));
  });
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
    tool.addEventListener(end, () => {
      follow = null;
    });
  }

  const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  tool.addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      event.preventDefault();
      form.requestSubmit();
    }
    const step = KEYS[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    const part = read();
    if (event.shiftKey) {
      part.right = clamp(part.right + 2 * step[0], part.left + LEAST, 100);
      part.bottom = clamp(part.bottom + 2 * step[1], part.top + LEAST, 100);
      write(part);
    } else {
      write(moved(part, 2 * step[0], 2 * step[1]));
    }
  });

  const show = () => {
    // An SVG element has no `hidden` property of its own in every browser.
    tool.toggleAttribute("hidden", !panel.open);
    if (panel.open) draw();
  };
  form.addEventListener("input", draw);
  panel.addEventListener("toggle", () => {
    show();
    if (panel.open) tool.scrollIntoView({ block: "nearest" });
  });
  new ResizeObserver(draw).observe(tool);
  show();
});
