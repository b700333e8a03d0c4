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
  for (const choice of document.querySelectorAll(".select2-selection")) {
    const select = choice.closest(".select2-container").previousElementSibling;
    const name = select?.labels?.[0]?.textContent.replace(/:\s*$/, "").trim();
    if (!name) continue;
    choice.setAttribute("aria-label", name);
    choice.querySelector("[role=textbox]")?.setAttribute("aria-label", name);
  }
});
