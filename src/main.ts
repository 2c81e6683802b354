/** Entry point of the executable: runs the CLI and maps its outcome to an exit code. */
