// Charts and the map by keyboard and pointer. Without this the tables behind them say it all.
document.addEventListener("DOMContentLoaded", () => {
  for (const figure of document.querySelectorAll("[data-chart]")) readable(figure);
  for (const figure of document.querySelectorAll("[data-map]")) explorable(figure);
  for (const button of document.querySelectorAll("[data-print]")) button.addEventListener("click", () => print());
  followOldAnchor();
});

// When a report was one page, '#classes' led to a part of it. Without this the link to that part is marked.
function followOldAnchor() {
  const link = document.getElementById(location.hash.slice(1))?.closest(".contents a[href]");
  if (link) location.replace(`${link.pathname}${location.search || link.search}${location.hash}`);
}

// A chart's values are those of the table behind it: a row is read, its place is marked.
function readable(figure) {
  const stage = figure.querySelector("[data-stage]");
  const drawing = stage.querySelector("svg");
  const readout = figure.querySelector("[data-readout]");
  const cursor = drawing.querySelector(".cursor");
  const heads = [...figure.querySelectorAll("thead th")].map((cell) => cell.textContent);
  const rows = [...figure.querySelectorAll("tbody tr")];
  if (!rows.length) return;
  const hint = readout.textContent;
  let current = -1;

  const read = (number) => {
    current = Math.max(0, Math.min(rows.length - 1, number));
    const row = rows[current];
    for (const marked of figure.querySelectorAll(".is-read")) marked.classList.remove("is-read");
    row.classList.add("is-read");
    if (row.dataset.x) cursor.setAttribute("transform", `translate(${Number(row.dataset.x) + 9} 0)`);
    if (row.dataset.series) {
      drawing.classList.add("is-reading");
      for (const line of drawing.querySelectorAll(`.${CSS.escape(row.dataset.series)}`)) line.classList.add("is-read");
    }
    readout.textContent = [...row.cells].map((cell, i) => `${heads[i]}: ${cell.textContent}`).join(" · ");
  };
  const leave = () => {
    current = -1;
    drawing.classList.remove("is-reading");
    cursor.removeAttribute("transform");
    for (const marked of figure.querySelectorAll(".is-read")) marked.classList.remove("is-read");
    readout.textContent = hint;
  };

  stage.tabIndex = 0;
  stage.setAttribute("role", "group");
  stage.setAttribute("aria-label", figure.querySelector("figcaption").textContent.trim());
  stage.addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (move) read(current < 0 ? 0 : current + move);
    else if (event.key === "Home") read(0);
    else if (event.key === "End") read(rows.length - 1);
    else if (event.key === "Escape") leave();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  const places = rows.map((row) => Number(row.dataset.x));
  stage.addEventListener("pointermove", (event) => {
    if (!rows[0].dataset.x) return;
    const x = toDrawing(drawing, event).x;
    let nearest = 0;
    places.forEach((place, i) => {
      if (Math.abs(place - x) < Math.abs(places[nearest] - x)) nearest = i;
    });
    if (nearest !== current) read(nearest);
  });
  stage.addEventListener("pointerleave", leave);
  stage.addEventListener("blur", leave);
}

function toDrawing(drawing, event) {
  return new DOMPoint(event.clientX, event.clientY).matrixTransform(drawing.getScreenCTM().inverse());
}

// Ten thousand points: they are fetched once somebody comes near, then found by their place.
function explorable(figure) {
  const stage = figure.querySelector("[data-stage]");
  const drawing = stage.querySelector("svg");
  const readout = figure.querySelector("[data-readout]");
  const cursor = drawing.querySelector(".map-cursor");
  const side = drawing.viewBox.baseVal.width;
  let known = null;
  let current = -1;
  let wanted = null;

  const places = async () => {
    if (known === null) {
      known = fetch(figure.dataset.points)
        .then((answer) => (answer.ok ? answer.json() : Promise.reject(answer.status)))
        .then((data) => ({
          ...data,
          xy: data.points.map(([x, y]) => [side / 2 + x * (side / 2 - 8), side / 2 - y * (side / 2 - 8)]),
        }))
        .catch(() => {
          known = null;
          return null;
        });
    }
    return known;
  };
  const link = (row) => figure.dataset.image.replace("/images/0/", `/images/${row}/`);
  const show = (data, row) => {
    current = row;
    const [x, y] = data.xy[row];
    cursor.setAttribute("cx", x);
    cursor.setAttribute("cy", y);
    const shown = [];
    if (figure.dataset.sheet) {
      const preview = document.createElement("img");
      preview.className = "map-preview";
      preview.alt = "";
      preview.src = `${figure.dataset.sheet}&i=${row}`;
      shown.push(preview);
    }
    const text = document.createElement("a");
    text.href = link(row);
    const truth = data.names[data.truth[row]];
    const said = data.names[data.predicted[row]];
    text.textContent = truth === said ? truth : `${truth} → ${said}`;
    readout.replaceChildren(...shown, text);
  };
  const nearest = (data, x, y, fits = () => true) => {
    let best = -1;
    let least = Infinity;
    data.xy.forEach(([a, b], row) => {
      const apart = (a - x) ** 2 + (b - y) ** 2;
      if (apart < least && fits(a - x, b - y, row)) [best, least] = [row, apart];
    });
    return best;
  };

  stage.tabIndex = 0;
  stage.setAttribute("role", "application");
  stage.setAttribute("aria-label", figure.querySelector("figcaption h3").textContent.trim());
  stage.addEventListener("pointermove", (event) => {
    wanted = toDrawing(drawing, event);
    requestAnimationFrame(async () => {
      const place = wanted;
      const data = place && (await places());
      if (!data || place !== wanted) return;
      wanted = null;
      show(data, nearest(data, place.x, place.y));
    });
  });
  stage.addEventListener("click", async (event) => {
    const data = await places();
    if (!data) return;
    const place = toDrawing(drawing, event);
    location.assign(link(nearest(data, place.x, place.y)));
  });
  stage.addEventListener("keydown", async (event) => {
    const way = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === "Enter" && current >= 0) location.assign(link(current));
    if (!way) return;
    event.preventDefault();
    event.stopPropagation();
    const data = await places();
    if (!data) return;
    const [x, y] = current < 0 ? [side / 2, side / 2] : data.xy[current];
    // Ahead within 45 degrees, and at least three units away, so that a key visibly moves.
    const ahead = (a, b) => {
      const along = a * way[0] + b * way[1];
      return along >= 3 && Math.abs(a * way[1] + b * way[0]) <= along;
    };
    const next = current < 0 ? nearest(data, x, y) : nearest(data, x, y, ahead);
    if (next >= 0) show(data, next);
  });
}
