// Loaded before anything is painted, so that the chosen theme does not flash.
(() => {
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => {
    try {
      return localStorage.getItem("theme") || "auto";
    } catch {
      return "auto"; // storage may be forbidden
    }
  };
  const apply = () => {
    const choice = chosen();
    const dark = choice === "dark" || (choice === "auto" && system.matches);
    const root = document.documentElement;
    root.dataset.bsTheme = dark ? "dark" : "light";
    root.dataset.themeChoice = choice;
  };
  apply();
  document.documentElement.classList.replace("no-js", "js");
  system.addEventListener("change", apply);

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    if (!button) return;
    const order = ["auto", "light", "dark"];
    const name = () => {
      const text = button.dataset[`${chosen()}Label`];
      button.setAttribute("aria-label", text);
      button.title = text;
    };
    name();
    button.addEventListener("click", () => {
      const next = order[(order.indexOf(chosen()) + 1) % order.length];
      try {
        localStorage.setItem("theme", next);
      } catch {
        return;
      }
      apply();
      name();
    });
  });
})();
