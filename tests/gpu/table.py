"""Prints the rows of run.sh as a table, from the first of the files that has all of them; exit status 1
where one of them does not hold. In a rehearsal what is not judged says so."""
import json
import os
import sys


def read(name):
    """What a full disk cut short is left out."""
    found = []
    if not os.path.isfile(name):
        return found
    with open(name, errors="replace") as file:
        lines = file.readlines()
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            print(f"{name}: not a row: {line!r}")
    return found


def cell(text, width):
    """The value of a crash can be long."""
    return text[:width].ljust(width)


rows = max((read(name) for name in sys.argv[1:]), key=len)
rehearsal = os.environ.get("MAGNET_GPU_REHEARSAL", "") != ""
words = {True: "yes", False: "NO", None: "-"}
if rehearsal:
    words = {True: "rehearsal: yes", False: "rehearsal: NO", None: "rehearsal"}
cells = [["what", "goal", "value", "holds"]]
cells += [[r["what"], r["goal"], r["value"], words[r["holds"]]] for r in rows]
widths = [min(max(len(row[i]) for row in cells), 100) for i in range(4)]
for i, row in enumerate(cells):
    print("| " + " | ".join(cell(text, width) for text, width in zip(row, widths)) + " |")
    if i == 0:
        print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
failed = sum(r["holds"] is False for r in rows)
print(f"{len(rows)} rows, {failed} do not hold")
sys.exit(1 if failed > 0 or not rows else 0)
