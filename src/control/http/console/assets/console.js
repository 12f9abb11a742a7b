// The console works without this file. With it, values have a copy button, a key file is checked in the browser before it is
// sent, filters apply when they change, and a form is not sent twice.
const announce = document.createElement("p");
announce.className = "sr";
announce.setAttribute("role", "status");
document.body.append(announce);

function copyButton(of, what) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.setAttribute("aria-label", `Copy ${what}`);
  button.addEventListener("click", async () => {
    const text = of.value ?? of.textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
      announce.textContent = `${what} copied`;
    } catch {
      // Without a secure context there is no clipboard: select the text, so that the usual keys copy it.
      const range = document.createRange();
      range.selectNodeContents(of);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      button.textContent = "Selected";
      announce.textContent = `${what} selected`;
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  return button;
}

for (const value of document.querySelectorAll("[data-copy]")) {
  value.after(copyButton(value, value.dataset.copy));
}

// Shows a problem next to a field, as the server does; without a text it takes the problem away.
function problem(field, text) {
  const id = `${field.id}-error`;
  let error = document.getElementById(id);
  if (!text) {
    error?.remove();
    field.removeAttribute("aria-invalid");
    return;
  }
  if (!error) {
    error = document.createElement("p");
    error.className = "error";
    error.id = id;
    field.after(error);
  }
  error.textContent = text;
  field.setAttribute("aria-invalid", "true");
  field.setAttribute("aria-describedby", `${id} ${field.id}-hint`);
  announce.textContent = text;
}

// A private key never leaves the browser: the server would reject it, and should not even receive it.
const isPrivate = (text) => /-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(text);
const PRIVATE_FILE = "This file is a private key. Choose the public key.";
const PRIVATE_TEXT = "This is a private key. It was not sent. Paste the public key.";
const BINARY = "This file is not PEM text. Convert it: openssl pkey -pubin -inform DER -in FILE -out public.pem";

for (const file of document.querySelectorAll("input[type=file][data-into]")) {
  const into = document.getElementById(file.dataset.into);
  const reject = (text) => {
    into.value = "";
    problem(into, text);
    into.focus();
  };
  file.addEventListener("change", async () => {
    const chosen = file.files[0];
    if (!chosen || chosen.size > 16384) return;
    const text = await chosen.text();
    file.value = "";
    if (isPrivate(text)) return reject(PRIVATE_FILE);
    if (text.includes("\uFFFD") || text.includes("\0")) return reject(BINARY);
    problem(into, "");
    into.value = text;
  });
  into.form.addEventListener("submit", (event) => {
    if (!isPrivate(into.value)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    reject(PRIVATE_TEXT);
  });
}

for (const form of document.querySelectorAll("form[data-live]")) {
  for (const choice of form.querySelectorAll("select")) {
    choice.addEventListener("change", () => form.requestSubmit());
  }
}

for (const form of document.querySelectorAll("form[method=post]")) {
  let sent = false;
  form.addEventListener("submit", (event) => {
    if (sent) event.preventDefault();
    sent = true;
  });
  addEventListener("pageshow", () => { sent = false; });
}

// The secret of an invitation is the fragment of the link, which browsers do not send.
const join = document.querySelector("form[data-join]");
if (join && location.hash.startsWith("#pci_")) {
  join.elements.secret.value = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);
  join.elements.password.focus();
}
