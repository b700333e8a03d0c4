// Keys for the tiles of a project: go from image to image, select, relabel, remove.
document.addEventListener("DOMContentLoaded", () => {
  // On a phone the classes would push the images off the screen.
  if (matchMedia("(width < 62rem)").matches) {
    for (const part of document.querySelectorAll("details[data-narrow-closed]")) part.open = false;
  }

  for (const form of document.querySelectorAll("form[data-tiles]")) {
    const boxes = [...form.querySelectorAll("input[name=ids]")];
    if (!boxes.length) continue;
    let last = null;

    const changed = () => form.dispatchEvent(new Event("change"));
    const tick = (box, on) => {
      box.checked = on;
      changed();
    };
    // As file managers do: with Shift, all between this one and the one before.
    form.addEventListener("click", (event) => {
      const box = event.target.closest("input[name=ids]");
      if (!box) return;
      if (event.shiftKey && last) {
        const [from, to] = [boxes.indexOf(last), boxes.indexOf(box)].sort((a, b) => a - b);
        for (const between of boxes.slice(from, to + 1)) between.checked = box.checked;
        changed();
      }
      last = box;
    });

    const columns = () => {
      const top = boxes[0].getBoundingClientRect().top;
      const next = boxes.findIndex((box) => Math.abs(box.getBoundingClientRect().top - top) > 4);
      return next === -1 ? boxes.length : next;
    };
    const send = (act) => {
      const field = document.createElement("input");
      Object.assign(field, { type: "hidden", name: "act", value: act });
      form.append(field);
      form.submit();
    };

    document.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey || event.defaultPrevented) return;
      const box = event.target.closest("input[name=ids]");
      if (!box && event.target.closest("input, select, textarea, summary, button, a")) return;
      if (box && !form.contains(box)) return;
      const at = box ? boxes.indexOf(box) : -1;
      const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(), ArrowDown: columns() }[event.key];
      if (step && box) {
        event.preventDefault();
        const to = boxes[Math.min(Math.max(at + step, 0), boxes.length - 1)];
        if (event.shiftKey) tick(to, true);
        to.focus();
        return;
      }
      const chosen = boxes.filter((one) => one.checked);
      if (event.key.toLowerCase() === "a" && !event.repeat) {
        event.preventDefault();
        const all = chosen.length < boxes.length;
        for (const one of boxes) one.checked = all;
        changed();
      } else if (event.key === "Delete" && chosen.length) {
        event.preventDefault();
        const menu = form.querySelector("[data-remove]");
        menu.open = true;
        menu.querySelector("button").focus();
      } else if (/^[0-9]$/.test(event.key) && chosen.length && !event.repeat) {
        const link = document.querySelectorAll(".project-classes li a")[event.key === "0" ? 9 : event.key - 1];
        if (!link) return;
        event.preventDefault();
        send(`label-${new URL(link.href).searchParams.get("class")}`);
      }
    });
  }
});
