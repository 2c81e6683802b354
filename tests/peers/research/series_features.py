"""Features of a price history as a practitioner would make them with pandas, for series-row.ts.

Usage: series_features.py RAW.csv HORIZON OUT.csv: RAW has the columns time and close. A row of OUT
for each row of RAW whose close HORIZON rows later is known, with the direction in "label".
"""
import sys

import numpy as np
import pandas as pd


def features(frame):
    close = np.log(frame["close"])
    moves = close.diff()
    out = {}
    for lag in (1, 2, 4, 8, 16, 48, 96, 240):
        out[f"return_{lag}"] = close.diff(lag)
    for lag in range(1, 8):
        out[f"move_{lag}"] = moves.shift(lag)
    for window in (12, 48, 240):
        mean, spread = close.rolling(window).mean(), close.rolling(window).std()
        out[f"bollinger_{window}"] = (close - mean) / spread
        out[f"volatility_{window}"] = moves.rolling(window).std()
    gain = moves.clip(lower=0).ewm(alpha=1 / 14).mean()
    loss = (-moves.clip(upper=0)).ewm(alpha=1 / 14).mean()
    out["rsi"] = 100 - 100 / (1 + gain / loss)
    out["macd"] = close.ewm(span=12).mean() - close.ewm(span=26).mean()
    time = pd.to_datetime(frame["time"])
    out["hour"] = time.dt.hour + time.dt.minute / 60
    out["weekday"] = time.dt.dayofweek
    return pd.DataFrame(out)


def main():
    raw, horizon, target = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    frame = pd.read_csv(raw)
    out = features(frame).replace([np.inf, -np.inf], np.nan)
    out["label"] = np.where(frame["close"].shift(-horizon) > frame["close"], "up", "down")
    out.iloc[:-horizon].to_csv(target, index=False)


main()
