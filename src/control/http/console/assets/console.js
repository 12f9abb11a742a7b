// The console works without this file. With it: values can be copied, a chosen key file is shown before it is sent,
// filters apply when they are changed, and a form is not sent twice.
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
      // Without a secure context there is no clipboard: select it, so that the usual keys copy it.
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

for (const file of document.querySelectorAll("input[type=file][data-into]")) {
  const into = document.getElementById(file.dataset.into);
  file.addEventListener("change", async () => {
    const chosen = file.files[0];
    if (!chosen || chosen.size > 16384) return;
    const text = await chosen.text();
    // A private key stays where it is: the server would refuse it, and it should not even be sent.
    if (text.includes("PRIVATE KEY")) {
      file.value = "";
      into.value = "";
      into.placeholder = "That file is a private key. Choose the public one.";
      announce.textContent = into.placeholder;
      into.focus();
      return;
    }
    into.value = text;
    file.value = "";
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

// The secret of an invitation stands after the #, which browsers do not send.
const join = document.querySelector("form[data-join]");
if (join && location.hash.startsWith("#pci_")) {
  join.elements.secret.value = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);
  join.elements.password.focus();
}
