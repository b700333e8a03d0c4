// Keys press the buttons that carry them; in a grid they speak about the photo that has the focus.
document.addEventListener("DOMContentLoaded", () => {
  // What may be said of a photo stands once on the page, for each project.
  const choices = (tile) => {
    const templates = [...document.querySelectorAll("template[data-answers]")];
    const own = templates.find((one) => one.dataset.answers === tile.dataset.project);
    return own ? [...own.content.querySelectorAll("option")] : [];
  };
  const fill = (tile) => {
    const select = tile.querySelector("select");
    const { value } = select;
    for (const option of choices(tile)) {
      if (option.value !== value) select.append(option.cloneNode(true));
    }
  };

  const show = (tile, label) => {
    const right = label !== null && label === tile.dataset.said;
    tile.querySelector("button").setAttribute("aria-pressed", String(right));
    tile.querySelector("select").value = right || label === null ? "" : label;
    tile.classList.toggle("is-other", !right && label !== null);
  };
  for (const tile of document.querySelectorAll(".tile-correct")) {
    fill(tile);
    tile.classList.toggle("is-other", tile.querySelector("select").value !== "");
  }

  const say = async (tile, label) => {
    const data = new FormData();
    data.append("csrfmiddlewaretoken", document.querySelector("input[name=csrfmiddlewaretoken]").value);
    data.append("label", label);
    data.append("toggle", "1");
    try {
      const response = await fetch(tile.dataset.correct, {
        method: "POST",
        body: data,
        headers: { Accept: "application/json" },
      });
      if (!response.ok || !response.headers.get("Content-Type")?.includes("json")) throw new Error();
      const answer = await response.json();
      show(tile, answer.label);
      const consent = document.querySelector("[data-ask-consent]");
      if (consent && answer.ask_consent) consent.hidden = false;
    } catch {
      // A reload tells why: signed out, deleted, or no connection.
      location.reload();
    }
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest(".tile-correct button");
    if (!button) return;
    event.preventDefault();
    say(button.parentElement, button.value);
  });
  document.addEventListener("change", (event) => {
    const tile = event.target.closest(".tile-correct");
    if (!tile) return;
    event.stopPropagation();
    say(tile, event.target.value);
  });

  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.defaultPrevented || event.repeat) return;
    if (event.target.closest("input:not([type=checkbox]), select, textarea, [role=listbox]")) return;
    const key = event.key.toLowerCase();
    const tile = event.target.closest(".tile")?.querySelector(".tile-correct");
    if (tile) {
      const label = key === "r" ? tile.dataset.said : choices(tile).find((one) => one.dataset.key === key)?.value;
      if (label) {
        event.preventDefault();
        say(tile, label);
      }
      return;
    }
    const button = [...document.querySelectorAll("button[data-key]")].find((one) => one.dataset.key === key);
    if (button) {
      event.preventDefault();
      button.click();
    }
  });
});
