// Sends an archive in pieces, with progress; after a lost connection, a restart of the site or a reload
// of the page it goes on where it was. A folder or many photos are packed here, unpressed (photos are
// pressed already), so that the site knows one way in. Without this script the form posts a ZIP.
document.addEventListener("DOMContentLoaded", () => {
  const form = document.getElementById("batch-form");
  if (!form) return;
  const say = form.dataset;
  const archive = document.getElementById("archive");
  const folder = document.getElementById("folder");
  const photos = document.getElementById("photos");
  const news = document.getElementById("batch-news");
  const upload = document.getElementById("batch-upload");
  const bar = upload.querySelector("progress");
  const button = form.querySelector("button:not([type=button])");
  const MEGABYTE = 1024 * 1024;
  let sending = false;

  const tell = (sentence, bad = false, values = {}) => {
    news.textContent = sentence.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
    news.classList.toggle("is-bad", bad);
  };
  const busy = (on) => {
    sending = on;
    button.disabled = on;
    upload.hidden = !on;
    if (on) bar.value = 0;
  };
  addEventListener("beforeunload", (event) => {
    if (sending) event.preventDefault();
  });

  const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
    let value = byte;
    for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
    return value >>> 0;
  });
  const crc32 = (bytes) => {
    let value = 0xffffffff;
    for (let i = 0; i < bytes.length; i += 1) value = TABLE[(value ^ bytes[i]) & 255] ^ (value >>> 8);
    return (value ^ 0xffffffff) >>> 0;
  };

  // What both headers of an entry say: UTF-8 name, method 0, no time, checksum, sizes.
  const describe = (view, at, crc, size, nameLength) => {
    view.setUint16(at, 20, true);
    view.setUint16(at + 2, 0x800, true);
    view.setUint16(at + 4, 0, true);
    view.setUint16(at + 6, 0, true);
    view.setUint16(at + 8, 0x21, true);
    view.setUint32(at + 10, crc, true);
    view.setUint32(at + 14, size, true);
    view.setUint32(at + 18, size, true);
    view.setUint16(at + 22, nameLength, true);
  };

  // The parts stay on the disk: a Blob of Files is not read into memory.
  const pack = async (files) => {
    const parts = [];
    const directory = [];
    let offset = 0;
    for (const [index, file] of files.entries()) {
      tell(say.packing, false, { done: index + 1, total: files.length });
      bar.value = (100 * index) / files.length;
      let bytes;
      try {
        bytes = new Uint8Array(await file.arrayBuffer());
      } catch {
        throw new Error(say.unreadable.replace("{name}", file.name));
      }
      const name = new TextEncoder().encode(file.webkitRelativePath || file.name);
      const crc = crc32(bytes);
      const local = new DataView(new ArrayBuffer(30));
      local.setUint32(0, 0x04034b50, true);
      describe(local, 4, crc, file.size, name.length);
      const central = new DataView(new ArrayBuffer(46));
      central.setUint32(0, 0x02014b50, true);
      central.setUint16(4, 20, true);
      describe(central, 6, crc, file.size, name.length);
      central.setUint32(42, offset, true);
      parts.push(local, name, file);
      directory.push(central, name);
      offset += 30 + name.length + file.size;
    }
    const length = directory.reduce((sum, part) => sum + part.byteLength, 0);
    const end = new DataView(new ArrayBuffer(22));
    end.setUint32(0, 0x06054b50, true);
    end.setUint16(8, files.length, true);
    end.setUint16(10, files.length, true);
    end.setUint32(12, length, true);
    end.setUint32(16, offset, true);
    return new Blob([...parts, ...directory, end], { type: "application/zip" });
  };

  // --- Piece by piece -----------------------------------------------------------------------

  class Refused extends Error {}
  const token = form.querySelector("input[name=csrfmiddlewaretoken]").value;
  const pause = (seconds) => new Promise((done) => {
    const timer = setTimeout(done, seconds * 1000);
    addEventListener("online", () => { clearTimeout(timer); done(); }, { once: true });
  });

  // One request; what the site refuses is an error with its sentence, no answer at all is another one.
  const ask = async (method, address, body, headers = {}) => {
    const response = await fetch(address, {
      method,
      body,
      headers: { Accept: "application/json", "X-CSRFToken": token, ...headers },
    });
    if (response.redirected || response.status === 403) throw new Refused(say.signedOut);
    if (response.status === 429) {
      await pause(Number(response.headers.get("Retry-After")) || 10);
      return ask(method, address, body, headers);
    }
    if (response.status === 404) throw new Refused(say.over);
    const json = response.headers.get("Content-Type")?.includes("json");
    if (json && response.status < 500) {
      const answer = await response.json();
      if (answer.error) throw new Refused(answer.error.detail);
      return answer;
    }
    if (json && response.status === 507) throw new Refused((await response.json()).error.detail);
    if (response.status === 413) throw new Refused(say.tooLarge);
    throw new Error(String(response.status));
  };

  // The same request again until it is answered, with longer and longer pauses.
  const askUntilAnswered = async (...request) => {
    for (let seconds = 1; ; seconds = Math.min(seconds * 2, 30)) {
      try {
        return await ask(...request);
      } catch (error) {
        if (error instanceof Refused) throw error;
        tell(say.lost, true);
        await pause(seconds);
      }
    }
  };

  // The checksum of both ends tells the same file again.
  const fingerprint = async (content) => {
    const ends = [content.slice(0, MEGABYTE), content.slice(-MEGABYTE)];
    const sums = await Promise.all(ends.map(async (end) => crc32(new Uint8Array(await end.arrayBuffer()))));
    return sums.map((sum) => sum.toString(16)).join("-");
  };

  const sendPieces = async (content, name) => {
    const data = new FormData();
    for (const [key, value] of [["filename", name], ["size", content.size]]) data.append(key, value);
    data.append("fingerprint", await fingerprint(content));
    data.append("project", form.elements.project?.value ?? "");
    let { id, piece, offset } = await askUntilAnswered("POST", say.begin, data);
    const address = `${say.begin}${id}/`;
    if (offset) tell(say.goesOn, false, { percent: Math.floor((100 * offset) / content.size) });
    for (;;) {
      while (offset < content.size) {
        bar.value = (100 * offset) / content.size;
        const bytes = content.slice(offset, offset + piece);
        ({ offset } = await askUntilAnswered("PATCH", address, bytes, { "Upload-Offset": offset }));
        tell(say.sending, false, { percent: Math.floor((100 * offset) / content.size) });
      }
      bar.removeAttribute("value");
      tell(say.checking);
      const rest = new FormData(form);
      rest.delete("archive");
      const answer = await askUntilAnswered("POST", `${address}finish/`, rest);
      if (answer.url) return answer.url;
      ({ offset } = answer);
    }
  };

  const send = async (content, name) => {
    try {
      if (content.size > Number(say.limitMb) * MEGABYTE) throw new Refused(say.tooLarge);
      const url = await sendPieces(content, name);
      sending = false;
      location.assign(url);
    } catch (error) {
      busy(false);
      // Otherwise the chosen file changed or is gone.
      tell(error instanceof Refused ? error.message : say.unreadable.replace("{name}", name), true);
    }
  };

  const sendFiles = async (files, name) => {
    if (!files.length || sending) return;
    if (files.length > Number(say.limitFiles)) {
      tell(say.tooMany, true);
      return;
    }
    if (files.reduce((sum, file) => sum + file.size, 0) > Number(say.limitMb) * MEGABYTE) {
      tell(say.tooLarge, true);
      return;
    }
    busy(true);
    try {
      await send(await pack(files), name);
    } catch (error) {
      busy(false);
      tell(error.message, true);
    }
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const file = archive.files[0];
    if (!file || sending) return;
    busy(true);
    send(file, file.name);
  });
  document.getElementById("choose-folder").addEventListener("click", () => folder.click());
  document.getElementById("choose-photos").addEventListener("click", () => photos.click());
  folder.addEventListener("change", () => {
    const files = [...folder.files].filter((file) => !file.name.startsWith("."));
    const name = files[0]?.webkitRelativePath.split("/")[0] || "folder";
    folder.value = "";
    sendFiles(files, `${name}.zip`);
  });
  photos.addEventListener("change", () => {
    const files = [...photos.files];
    photos.value = "";
    sendFiles(files, "photos.zip");
  });

  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    const files = [...(event.dataTransfer?.files ?? [])];
    if (!files.length || sending) return;
    if (files.length === 1 && files[0].name.toLowerCase().endsWith(".zip")) {
      archive.files = event.dataTransfer.files;
      tell(say.chosen, false, { name: files[0].name });
    } else sendFiles(files, "photos.zip");
  });
});
