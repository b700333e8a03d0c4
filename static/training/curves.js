// Draws the curves of a run, and fetches what is new each time the live part says so.
(() => {
  const section = document.getElementById("curves");
  if (!section) return;
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const SERIES = ["--accent", "--cat"];
  const DASHES = [[], [6, 4]];
  const HEIGHT = 230;
  const charts = [];
  let data = null;
  let drawn = -1;
  let zoomed = false;

  const last = () => Math.max(data.epoch.at(-1) ?? 1, 2);
  const axis = (more) => ({
    stroke: () => colour("--ink-quiet"),
    grid: { stroke: () => colour("--line"), width: 1 },
    ticks: { stroke: () => colour("--line"), width: 1 },
    font: "12px system-ui, sans-serif",
    ...more,
  });

  function make(figure) {
    const lines = figure.dataset.lines.split(" ");
    const names = figure.dataset.names.split("|");
    const digits = lines[0] === "learning_rate" ? (v) => Number(v).toPrecision(3) : (v) => v.toFixed(4);
    const shown = "percent" in figure.dataset ? (v) => `${(100 * v).toFixed(2)} %` : digits;
    const series = lines.map((line, i) => ({
      label: names[i],
      stroke: () => colour(SERIES[i]),
      width: 2,
      dash: DASHES[i],
      points: { show: data.count < 60, size: 5 },
      value: (chart, value) => (value === null ? "–" : shown(value)),
    }));
    const ticks = "percent" in figure.dataset
      ? { values: (chart, all) => all.map((v) => `${Number((100 * v).toFixed(1))} %`) }
      : lines[0] === "learning_rate"
        ? { values: (chart, all) => all.map((v) => (v === null ? "" : String(Number(v.toPrecision(3))))) }
        : {};
    const chart = new uPlot(
      {
        width: figure.clientWidth - 32,
        height: HEIGHT,
        scales: { x: { time: false } },
        cursor: { sync: { key: "curves" }, drag: { x: true, y: false } },
        axes: [axis({ values: (c, all) => all.map((v) => (Number.isInteger(v) ? v : "")) }), axis({ size: 60, ...ticks })],
        series: [{ label: section.dataset.epoch }, ...series],
        hooks: {
          setSelect: [(c) => { if (c.select.width > 0) zoomed = true; }],
        },
      },
      [data.epoch, ...lines.map((line) => data[line])],
      figure,
    );
    chart.over.addEventListener("dblclick", () => { zoomed = false; });
    const canvas = figure.querySelector("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", figure.querySelector("figcaption").textContent.trim());
    charts.push({ chart, figure, lines });
  }

  function range(most) {
    zoomed = most !== last();
    for (const { chart } of charts) chart.setScale("x", { min: 1, max: Math.max(most, 2) });
  }

  function fillTable() {
    const body = document.getElementById("curve-rows");
    // The page came with these rows already, unless an epoch ended since.
    if (body.lastElementChild?.firstElementChild.textContent === String(data.epoch.at(-1))) return;
    const number = (value, digits) => (value === null ? "–" : value.toFixed(digits));
    body.replaceChildren(...data.epoch.map((epoch, i) => {
      const row = document.createElement("tr");
      const cells = [
        number(data.loss[i], 4), number(data.accuracy[i], 4), number(data.val_loss[i], 4),
        number(data.val_accuracy[i], 4), Number(data.learning_rate[i]).toPrecision(3), number(data.seconds[i], 1),
      ];
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = epoch;
      row.append(head, ...cells.map((text) => {
        const cell = document.createElement("td");
        cell.className = "number";
        cell.textContent = text;
        return cell;
      }));
      return row;
    }));
  }

  async function draw() {
    const answer = await fetch(section.dataset.url, { headers: { Accept: "application/json" } });
    if (!answer.ok) return;
    data = await answer.json();
    drawn = data.count;
    if (!data.count) return;
    if (!charts.length) {
      for (const figure of section.querySelectorAll("figure")) make(figure);
    } else {
      for (const { chart, lines } of charts) {
        // A zoom that somebody chose stays when new epochs come.
        chart.setData([data.epoch, ...lines.map((line) => data[line])], !zoomed);
        if (zoomed) chart.redraw();
      }
    }
    section.dataset.ready = data.count;
    fillTable();
  }

  section.querySelector("[data-range=all]").addEventListener("click", () => range(data.epochs));
  section.querySelector("[data-range=done]").addEventListener("click", () => range(last()));

  let said = document.querySelector(".live")?.dataset.state;
  document.body.addEventListener("htmx:afterSettle", () => {
    const live = document.querySelector(".live");
    if (!live) return;
    if (Number(live.dataset.count) !== drawn) draw();
    if (live.dataset.state !== said) {
      said = live.dataset.state;
      document.getElementById("announce").textContent = said;
    }
  });
  addEventListener("resize", () => {
    for (const { chart, figure } of charts) chart.setSize({ width: figure.clientWidth - 32, height: HEIGHT });
  });
  const redraw = () => { for (const { chart } of charts) chart.redraw(); };
  new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["data-bs-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  // What each chart shows of the run, as [first epoch, last epoch].
  window.curves = { ranges: () => charts.map(({ chart }) => [chart.scales.x.min, chart.scales.x.max]) };
  draw();
})();
