# Writes the real data sets of the research benches as CSV into a folder: Rscript export.R FOLDER
# They come from R packages of Debian and are never committed; licences of some forbid it.
suppressPackageStartupMessages({
  library(modeldata); library(mlbench); library(kernlab); library(timeSeries); library(forecast)
})
folder <- commandArgs(trailingOnly = TRUE)[1]
dir.create(folder, showWarnings = FALSE, recursive = TRUE)

save <- function(name, frame, label) {
  frame <- as.data.frame(frame)
  names(frame)[names(frame) == label] <- "label"
  frame <- frame[!is.na(frame$label), ]
  file <- file.path(folder, paste0(name, ".csv"))
  temporary <- paste0(file, ".part")
  write.csv(frame, temporary, row.names = FALSE, na = "")
  invisible(file.rename(temporary, file))
}
from <- function(package, name) {
  space <- new.env()
  data(list = name, package = package, envir = space)
  get(name, envir = space)
}

# The eight sets of the table.
save("spam", from("kernlab", "spam"), "type")
save("credit_data", from("modeldata", "credit_data"), "Status")
save("mlc_churn", from("modeldata", "mlc_churn"), "churn")
save("lending_club", from("modeldata", "lending_club"), "Class")
save("pima", from("mlbench", "PimaIndiansDiabetes"), "diabetes")
save("ionosphere", from("mlbench", "Ionosphere"), "Class")
save("satellite", from("mlbench", "Satellite"), "classes")
save("wa_churn", from("modeldata", "wa_churn"), "churn")

# With contexts.
save("hpc_data", from("modeldata", "hpc_data"), "class")
save("males", from("plm", "Males"), "union")

# Series.
usdchf <- from("timeSeries", "USDCHF")
write.csv(
  data.frame(
    time = format(time(usdchf), "%Y-%m-%dT%H:%M:%SZ", tz = "UTC"),
    close = as.numeric(series(usdchf))
  ),
  file.path(folder, "usdchf.csv"), row.names = FALSE
)
gold <- from("forecast", "gold")
write.csv(
  data.frame(day = seq_along(gold), close = as.numeric(gold)),
  file.path(folder, "gold.csv"), row.names = FALSE, na = ""
)

# Not in the table: what settings of the loop may be tuned on.
save("attrition", from("modeldata", "attrition"), "Attrition")
save("cells", subset(from("modeldata", "cells"), select = -case), "class")
save("ad_data", from("modeldata", "ad_data"), "Class")
save("scat", from("modeldata", "scat"), "Species")
save("stackoverflow", from("modeldata", "stackoverflow"), "Remote")
save("two_class", from("modeldata", "two_class_dat"), "Class")
save("breast_cancer", subset(from("mlbench", "BreastCancer"), select = -Id), "Class")
save("sonar", from("mlbench", "Sonar"), "Class")
save("vehicle", from("mlbench", "Vehicle"), "Class")
save("vowel", from("mlbench", "Vowel"), "Class")
save("dna", from("mlbench", "DNA"), "Class")
save("glass", from("mlbench", "Glass"), "Type")
save("titanic", {
  counts <- as.data.frame(datasets::Titanic)
  counts[rep(seq_len(nrow(counts)), counts$Freq), c("Class", "Sex", "Age", "Survived")]
}, "Survived")
