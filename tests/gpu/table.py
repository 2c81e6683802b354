"""Prints the rows of run.sh as a table; exit status 1 where one of them does not hold."""
import json
import sys

with open(sys.argv[1]) as file:
    rows = [json.loads(line) for line in file if line.strip()]
words = {True: "yes", False: "NO", None: "-"}
cells = [["what", "goal", "value", "holds"]]
cells += [[r["what"], r["goal"], r["value"], words[r["holds"]]] for r in rows]
widths = [max(len(row[i]) for row in cells) for i in range(4)]
for i, row in enumerate(cells):
    print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |")
    if i == 0:
        print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
sys.exit(1 if any(r["holds"] is False for r in rows) else 0)
