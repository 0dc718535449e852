// The landing page: commands for this server's address, buttons that copy them, and how the server is.

const find = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));

const curl = 'curl --aws-sigv4 aws:amz:us-east-1:execute-api --user "FANFAREDEV:fanfare-dev-secret"';
find("create").textContent = `${curl} ${location.origin}/create/1/my-session/7`;
find("notify").textContent = `${curl} ${location.origin}/notify/user/7 --json '{"text":"hello"}'`;

for (const button of document.querySelectorAll("button[data-copy]")) {
  const what = find(button.getAttribute("data-copy") ?? "");
  button.addEventListener("click", async () => {
    // Pages on plain HTTP may not write to the clipboard; the text can be selected.
    await navigator.clipboard?.writeText(what.textContent ?? "");
    find("told").textContent = "Copied.";
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
}

/** @param {boolean} good @param {string} text */
function tell(good, text) {
  find("dot").className = `dot ${good ? "good" : "bad"}`;
  find("health").textContent = text;
}

try {
  const answer = await fetch("/health/ready");
  const { ready, reason } = await answer.json();
  tell(ready, ready ? "The server is ready." : `Not ready: ${reason}`);
} catch {
  tell(false, "The server does not answer.");
}

export {};
