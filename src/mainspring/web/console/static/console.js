// What the console adds when scripts run: copy buttons, readings under the pointer, the live tail, and answers that
// arrive word by word. Every page works without it. Only the server's own, already escaped markup becomes HTML here.

const find = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

/** An element with a class and a text. */
function make(tag, name = "", text = "") {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.textContent = text;
  return element;
}

/** Markup that the server rendered, as nodes. */
function nodes(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content;
}

// Times: relative ones stay true, and the pointer shows them on the reader's own clock.
function ago(seconds) {
  if (seconds < 2) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  return `${Math.floor(seconds / 3600)} h ago`;
}

function tick() {
  for (const time of all("time[title]")) {
    const age = (Date.now() - Date.parse(time.dateTime)) / 1000;
    if (age >= 0 && age < 86400) time.textContent = ago(age);
  }
}

function localTimes(root = document) {
  for (const time of all("time[title]", root)) time.title += `\n${new Date(time.dateTime).toLocaleString()} here`;
}

// Copy buttons.
for (const button of all("[data-copy]")) {
  if (!navigator.clipboard) break;
  button.hidden = false;
  button.addEventListener("click", async () => {
    const was = button.textContent;
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent.trim());
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = was; }, 1500);
  });
}

// Charts: the pointer reads out the row of the data table under it.
function readings() {
  const table = find("#figures");
  if (!table) return;
  const heads = all("thead th", table).map((cell) => cell.textContent);
  const rows = all("tbody tr", table).map((row) => [...row.cells].map((cell) => cell.textContent.trim()));
  for (const figure of all("[data-columns]")) {
    const columns = figure.dataset.columns.split(" ").map(Number);
    const plot = find(".plot", figure);
    const svg = find(".outer", plot);
    const cursor = make("div", "cursor");
    const tip = make("div", "tip");
    const hide = () => { cursor.remove(); tip.remove(); };
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const at = Math.floor(((event.clientX - box.left) / box.width) * rows.length);
      const row = rows[at];
      if (!row) return hide();
      const lines = columns.map((column) => {
        const line = make("div", "", heads[column]);
        line.append(make("span", "", row[column]));
        return line;
      });
      tip.replaceChildren(make("b", "", row[0]), ...lines);
      plot.append(cursor, tip);
      const x = box.left - plot.getBoundingClientRect().left + ((at + 0.5) / rows.length) * box.width;
      cursor.style.left = `${x}px`;
      tip.style.left = `${x + 12 + tip.offsetWidth > plot.clientWidth ? x - 12 - tip.offsetWidth : x + 12}px`;
    });
  }
}

// The live tail.
function liveTail() {
  const button = find("#live");
  if (!button) return;
  const body = find("#answers");
  const said = find("#said");
  let source = null;
  let count = 0;
  const stop = (text) => {
    source?.close();
    source = null;
    button.setAttribute("aria-pressed", "false");
    button.textContent = "Live";
    said.textContent = text;
  };
  const start = () => {
    source = new EventSource(button.dataset.tail);
    button.setAttribute("aria-pressed", "true");
    button.textContent = "Live";
    said.textContent = "Live: new answers appear at the top.";
    source.addEventListener("row", (event) => {
      const fresh = nodes(event.data);
      localTimes(fresh);
      fresh.firstElementChild.classList.add("new");
      body.prepend(fresh);
      while (body.rows.length > 200) body.deleteRow(-1);
      find("#rows").classList.remove("bare");
      find("#none")?.remove();
      count += 1;
      button.textContent = `Live · ${count} new`;
    });
    source.addEventListener("end", (event) => stop(event.data));
  };
  button.hidden = false;
  button.addEventListener("click", () => (source ? stop("Live tail stopped.") : start()));
}

// The playground.
function playground() {
  const form = find("#play");
  if (!form) return;
  const talk = find("#talk");
  const message = form.elements.message;
  const stopButton = find("#stop");
  const hint = find(".hint", form);
  hint.hidden = false;
  talk.scrollTop = talk.scrollHeight;

  const turn = (role, text) => {
    const article = make("article", `turn r-${role}`);
    const said = make("p", "said", text);
    const side = make("div");
    side.append(said);
    article.append(make("h3", "", role), side);
    find(".empty", talk)?.remove();
    talk.append(article);
    talk.scrollTop = talk.scrollHeight;
    return { article, said, side };
  };

  const problem = (text) => {
    const notice = make("div", "notice bad", text);
    notice.setAttribute("role", "alert");
    talk.append(notice);
    talk.scrollTop = talk.scrollHeight;
  };

  async function ask() {
    const asked = message.value;
    const data = new FormData(form);
    const abort = new AbortController();
    const history = JSON.parse(form.elements.history.value || "[]");
    all(".notice", talk).forEach((notice) => notice.remove());
    turn("user", asked);
    message.value = "";
    find("#send").disabled = true;
    stopButton.hidden = false;
    stopButton.onclick = () => abort.abort();
    let answer = null;
    let id = "";
    try {
      const response = await fetch(form.action, {
        method: "POST", body: data, signal: abort.signal, headers: { accept: "text/event-stream" },
      });
      id = response.headers.get("x-request-id") ?? "";
      if (!response.ok || !response.headers.get("content-type")?.startsWith("text/event-stream")) {
        throw new Error(await refusal(response));
      }
      answer = turn("assistant", "");
      answer.article.classList.add("busy");
      await read(response.body, answer, talk);
    } catch (error) {
      if (error.name !== "AbortError") problem(error.message);
    }
    answer?.article.classList.remove("busy");
    const text = answer?.said.textContent ?? "";
    if (text) {
      history.push({ role: "user", content: asked }, { role: "assistant", content: text });
      form.elements.history.value = JSON.stringify(history);
    } else if (!message.value) {
      message.value = asked;
    }
    find("#send").disabled = false;
    stopButton.hidden = true;
    message.focus();
    if (id) await facts(id);
  }

  async function facts(id) {
    // The row of an answer that was stopped is written a moment after its reader has left.
    for (let tries = 0; tries < 10; tries += 1) {
      const response = await fetch(form.dataset.facts + id);
      if (response.status === 204) {
        await new Promise((resolve) => { setTimeout(resolve, 300); });
      } else {
        if (response.ok) talk.append(nodes(await response.text()));
        break;
      }
    }
    talk.scrollTop = talk.scrollHeight;
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!find("#send").disabled) ask();
  });
  message.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
}

/** Why an answer was refused, in the words of the server. */
async function refusal(response) {
  const text = await response.text();
  try {
    return JSON.parse(text).error.message;
  } catch {
    return response.status === 403 ? "This page is out of date. Reload it." : `The server answered ${response.status}.`;
  }
}

/** Read a stream of chat chunks into a turn, following its end unless the reader has scrolled up. */
async function read(body, answer, talk) {
  let held = "";
  let thought = null;
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const events = (held + value).split(/\r?\n\r?\n/);
    held = events.pop();
    const following = talk.scrollHeight - talk.scrollTop - talk.clientHeight < 60;
    for (const event of events) {
      const line = event.split(/\r?\n/).find((one) => one.startsWith("data:"));
      const data = line?.slice(5).trim();
      if (!data || data === "[DONE]") continue;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Error(chunk.error.message ?? "The stream broke.");
      const delta = chunk.choices?.[0]?.delta;
      const thinking = delta?.reasoning_content ?? delta?.reasoning;
      if (thinking) {
        if (!thought) {
          thought = make("details", "thought");
          thought.append(make("summary", "", "Thinking"), make("p", "said"));
          answer.side.prepend(thought);
        }
        thought.lastChild.append(thinking);
      }
      if (delta?.content) answer.said.append(delta.content);
    }
    if (following) talk.scrollTop = talk.scrollHeight;
  }
}

localTimes();
setInterval(tick, 5000);
readings();
liveTail();
playground();
