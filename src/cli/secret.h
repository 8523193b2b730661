/* Passwords for commands: from the terminal without echo, from standard input or from a file, never from the command line. */
#ifndef VEREDUS_CLI_SECRET_H
#define VEREDUS_CLI_SECRET_H

#include "cli/command.h"

enum { SECRET_MAX = 1024 };

/*
 * Reads a password into `out` (wipe it with buf_wipe): by --password-stdin, --password-file, or the terminal, there twice if
 * `is_new`. EX_OK, or an exit code after saying why.
 */
int secret_read(const struct cli_input *input, const char *prompt, bool is_new, struct buf *out);

#endif
