// Names for what Django's admin leaves without one, for those who hear the page.
addEventListener("load", () => {
  const search = document.getElementById("searchbar");
  if (search) search.setAttribute("aria-label", document.querySelector("label[for=searchbar] img").alt);
  for (const empty of document.querySelectorAll("thead th")) {
    if (empty.textContent.trim() || empty.children.length) continue;
    const cell = document.createElement("td");
    cell.className = empty.className;
    empty.replaceWith(cell);
  }
  for (const hint of document.querySelectorAll("span.help-tooltip[aria-label]")) hint.setAttribute("role", "img");
});

// The choosers come when jQuery gets to them, before or after `load`, and with every row that is added.
function nameChoosers() {
  for (const choice of document.querySelectorAll(".select2-selection:not([aria-label])")) {
    const select = choice.closest(".select2-container").previousElementSibling;
    const name = select?.labels?.[0]?.textContent.replace(/:\s*$/, "").trim();
    if (!name) continue;
    choice.setAttribute("aria-label", name);
    choice.querySelector("[role=textbox]")?.setAttribute("aria-label", name);
  }
}
new MutationObserver(nameChoosers).observe(document.documentElement, { childList: true, subtree: true });
nameChoosers();
