// What every page does: arrow keys, toasts, the note that the connection is gone.
document.addEventListener("DOMContentLoaded", () => {
  const offline = document.getElementById("offline");
  const unreachable = (gone) => {
    if (offline) offline.hidden = !gone;
  };
  unreachable(!navigator.onLine);
  addEventListener("offline", () => unreachable(true));
  addEventListener("online", () => unreachable(false));
  document.body.addEventListener("htmx:sendError", () => unreachable(true));
  document.body.addEventListener("htmx:beforeOnLoad", () => unreachable(false));

  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || event.defaultPrevented) return;
    if (event.target.closest("input, select, textarea, summary, [role=listbox]")) return;
    const rel = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
    const link = rel && document.querySelector(`a[rel=${rel}]`);
    if (link) link.click();
  });

  document.addEventListener("click", (event) => {
    const close = event.target.closest("[data-close]");
    if (close) close.closest(close.dataset.close).remove();
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (!menu.contains(event.target)) menu.open = false;
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });

  // Times are told in the account's time zone; where none is chosen, in the browser's.
  const clock = new Intl.DateTimeFormat(document.documentElement.lang, {
    dateStyle: "medium",
    timeStyle: "short",
    timeZone: document.documentElement.dataset.timeZone || undefined,
  });
  proposeZone(document.querySelector("[data-propose-zone]"));
  const tellLocally = (root) => {
    for (const time of root.querySelectorAll("time[data-local]")) {
      time.textContent = clock.format(new Date(time.dateTime));
    }
  };
  tellLocally(document);
  document.body.addEventListener("htmx:afterSwap", (event) => tellLocally(event.target));
  document.body.addEventListener("htmx:oobAfterSwap", (event) => tellLocally(event.target));

  // Tick all, and a count beside the button that acts on the ticked ones.
  for (const form of document.querySelectorAll("form[data-select]")) {
    const boxes = () => [...form.querySelectorAll("input[name=ids]")];
    const all = form.querySelector("[data-select-all]");
    const everything = form.querySelector("[data-select-everything]");
    const bar = form.querySelector("[data-select-bar]");
    const show = () => {
      const ticked = boxes().filter((box) => box.checked).length;
      if (all) {
        all.checked = ticked > 0 && ticked === boxes().length;
        all.indeterminate = ticked > 0 && ticked < boxes().length;
      }
      const whole = everything?.checked ?? false;
      bar.classList.toggle("is-active", ticked > 0 || whole);
      for (const part of form.querySelectorAll("[data-select-count]")) {
        part.textContent = whole ? part.dataset.everything : ticked;
      }
      for (const button of bar.querySelectorAll("button")) button.disabled = ticked === 0 && !whole;
    };
    form.addEventListener("change", (event) => {
      if (event.target === all) for (const box of boxes()) box.checked = all.checked;
      show();
    });
    show();
  }
  for (const select of document.querySelectorAll("select[data-submit]")) {
    select.addEventListener("change", () => select.form.requestSubmit());
  }
});

// Asked once a browser, and only where the browser's time zone is another one than the site's.
function proposeZone(form) {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (!form || !zone || zone === form.dataset.proposeZone || localStorage.getItem("zone-proposed")) return;
  form.time_zone.value = zone;
  form.querySelector("[data-zone]").textContent = zone;
  form.hidden = false;
  form.querySelector("[data-zone-dismiss]").addEventListener("click", () => {
    localStorage.setItem("zone-proposed", zone);
    form.remove();
  });
}
