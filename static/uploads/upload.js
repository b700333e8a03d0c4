// Uploads files one by one, so that each has its own progress and its own answer. Without this
// script the form posts them all at once.
document.addEventListener("DOMContentLoaded", () => {
  const AT_ONCE = 3;
  const form = document.getElementById("upload-form");
  const section = document.getElementById("uploads");
  const list = document.getElementById("upload-list");
  const news = document.getElementById("upload-news");
  const template = document.getElementById("upload-item");
  const chooser = document.getElementById("file");
  const camera = document.getElementById("camera");
  const say = template.dataset;
  const limit = Number(form.dataset.limitMb) * 1024 * 1024;
  const queue = [];
  let running = 0;
  // The site asked to wait: nothing is sent before this time, and nothing is given up.
  let notBefore = 0;

  const add = (files) => {
    section.hidden = section.hidden && files.length === 0;
    for (const file of files) queue.push(listed(file));
    next();
    list.firstElementChild?.scrollIntoView({ block: "nearest" });
  };

  const listed = (file) => {
    const item = template.content.firstElementChild.cloneNode(true);
    const upload = { file, item, project: form.elements.project?.value ?? "", bar: item.querySelector("progress"), hint: item.querySelector(".hint") };
    item.querySelector(".upload-name").textContent = file.name;
    upload.bar.setAttribute("aria-label", file.name);
    upload.hint.textContent = say.waiting;
    const picture = item.querySelector("img");
    // Not every browser draws HEIC: the picture then waits for the site's thumbnail.
    picture.addEventListener("error", () => picture.classList.add("is-empty"), { once: true });
    picture.src = URL.createObjectURL(file);
    const retry = item.querySelector(".upload-retry");
    retry.addEventListener("click", () => {
      retry.hidden = true;
      item.classList.remove("is-refused");
      queue.push(upload);
      next();
    });
    list.prepend(item);
    return upload;
  };

  const next = () => {
    while (running < AT_ONCE && queue.length && navigator.onLine && Date.now() >= notBefore) {
      running += 1;
      send(queue.shift()).finally(() => {
        running -= 1;
        next();
      });
    }
    if (!navigator.onLine) for (const { hint } of queue) hint.textContent = say.offline;
  };
  addEventListener("online", next);

  const send = (upload) =>
    new Promise((over) => {
      const { file, item, bar, hint, project } = upload;
      if (file.size > limit) {
        refuse(item, say.tooLarge);
        over();
        return;
      }
      const data = new FormData();
      data.append("csrfmiddlewaretoken", form.elements.csrfmiddlewaretoken.value);
      data.append("file", file, file.name);
      data.append("project", project);
      const request = new XMLHttpRequest();
      request.open("POST", form.action);
      request.setRequestHeader("Accept", "application/json");
      request.upload.addEventListener("progress", (event) => {
        if (!event.lengthComputable) return;
        bar.value = (100 * event.loaded) / event.total;
        hint.textContent = event.loaded < event.total ? say.sending : say.checking;
        if (event.loaded === event.total) bar.removeAttribute("value");
      });
      request.addEventListener("load", () => {
        let answer = null;
        try {
          answer = JSON.parse(request.responseText);
        } catch {
          // A sign-in page or a proxy's error: handled below.
        }
        if (request.status === 429) hold(upload, answer, Number(request.getResponseHeader("Retry-After")));
        else if (answer?.photo) accept(upload, answer.photo);
        else if (answer?.error) refuse(item, answer.error.detail);
        else if (request.responseURL.includes("/accounts/")) refuse(item, say.signedOut);
        else lose(upload);
        over();
      });
      request.addEventListener("error", () => {
        lose(upload);
        over();
      });
      hint.textContent = say.sending;
      request.send(data);
    });

  const accept = ({ file, item }, photo) => {
    const picture = item.querySelector("img");
    URL.revokeObjectURL(picture.src);
    picture.src = photo.thumbnail_url;
    picture.classList.remove("is-empty");
    const link = item.querySelector("a");
    link.href = photo.url;
    link.setAttribute("aria-label", file.name);
    news.textContent = `${file.name}: ${say.done}`;
    const state = item.querySelector(".upload-state");
    state.setAttribute("hx-get", `${photo.status_url}?short=1`);
    state.setAttribute("hx-trigger", "load, load delay:300ms, load delay:900ms, every 2s");
    state.setAttribute("hx-include", "this");
    htmx.process(state);
  };

  const refuse = (item, sentence) => {
    item.classList.add("is-refused");
    item.querySelector("progress")?.remove();
    item.querySelector(".hint").textContent = sentence;
    news.textContent = `${item.querySelector(".upload-name").textContent}: ${sentence}`;
  };

  const hold = (upload, answer, seconds) => {
    upload.bar.value = 0;
    queue.unshift(upload);
    for (const { hint } of queue) hint.textContent = say.later;
    news.textContent = answer?.error?.detail ?? say.later;
    notBefore = Math.max(notBefore, Date.now() + 1000 * (seconds || 60));
    setTimeout(next, notBefore - Date.now() + 50);
  };

  const lose = (upload) => {
    upload.bar.value = 0;
    upload.item.classList.add("is-refused");
    upload.hint.textContent = say.lost;
    news.textContent = `${upload.file.name}: ${say.lost}`;
    upload.item.querySelector(".upload-retry").hidden = false;
  };

  for (const [button, input] of [["choose", chooser], ["take", camera]]) {
    const take = () => {
      add([...input.files]);
      input.value = "";
    };
    document.getElementById(button).addEventListener("click", () => input.click());
    input.addEventListener("change", take);
    // On a slow connection a file may be chosen before this script has come.
    if (input.files.length) take();
  }
  form.addEventListener("submit", (event) => event.preventDefault());

  const carriesFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  let inside = 0;
  const mark = (on) => document.documentElement.classList.toggle("is-dropping", on);
  addEventListener("dragenter", (event) => {
    if (carriesFiles(event)) mark(++inside > 0);
  });
  addEventListener("dragleave", (event) => {
    if (carriesFiles(event)) mark(--inside > 0);
  });
  addEventListener("dragover", (event) => {
    if (carriesFiles(event)) event.preventDefault();
  });
  addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    inside = 0;
    mark(false);
    add([...event.dataTransfer.files]);
  });
  addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) add(files);
  });
});
