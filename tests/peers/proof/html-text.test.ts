import { expect, test } from "bun:test";
import { decodeEntities, htmlBlocks } from "./html-text.ts";

test("paragraphs, headings and cells are blocks; inline elements are not", () => {
  const page = `<!DOCTYPE html><html><head><title>no</title><script>if (a<b) x("</p>")</script></head>
    <body><h1>Sum  of
    <em>two</em></h1><p class="x" title="a > b">First<br>second &lt;line&gt;</p>
    <table><tr><td>one</td><td><p>two</p></td></tr></table><!-- <p>hidden</p> --></body></html>`;
  expect(htmlBlocks(page)).toEqual(["Sum of two", "First", "second <line>", "one", "two"]);
});

test("navigation is left out with everything nested in it", () => {
  const page = `<body><ul class="docnav top"><li>Next</li><ul><li>deep</li></ul></ul>
    <p id="title">Banner</p><div class="titlepage"><h2 class="title">4.2. Files</h2></div>
    <p>Press <span class="switchinline"><span class="MAC">Command</span><span>Ctrl</span></span>+C.</p>
    <div class="navfooter"><div>Home</div></div><nav/><p>last</p></body>`;
  expect(htmlBlocks(page)).toEqual(["4.2. Files", "Press Ctrl+C.", "last"]);
});

test("listings keep their lines", () => {
  const page = "<p>Type:</p><pre><code>\n# apt  update\n  <b>&amp;&amp;</b> ok  \n</code></pre>";
  expect(htmlBlocks(page)).toEqual(["Type:", "# apt  update\n  && ok"]);
});

test("a block of marks alone is none", () => {
  expect(htmlBlocks("<p>...</p><td> → </td><p>표 1</p>")).toEqual(["표 1"]);
});

test("entities are decoded once; an unknown one is an error", () => {
  expect(decodeEntities("&#xAC00;&#12354;&amp;lt; a & b")).toBe("가あ&lt; a & b");
  expect(() => decodeEntities("&bogus;")).toThrow("unknown entity &bogus;");
});
