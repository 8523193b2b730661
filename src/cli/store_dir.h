/* The store's directory, for the commands that read it themselves: verify, reindex, export. */
#ifndef VEREDUS_CLI_STORE_DIR_H
#define VEREDUS_CLI_STORE_DIR_H

#include "cli/command.h"

enum store_entry {
    STORE_READ,  /* beside the server */
    STORE_ALONE, /* with the server's locks: it must not run */
    STORE_RETURN /* as STORE_READ; cli_leave_owner() makes the process again who it was */
};

/*
 * Changes to the store's directory and, when started by root, to the user that it belongs to: what root makes there the store could
 * not use. EX_OK, or a code after saying why.
 */
int cli_enter_store(const struct cli_input *input, enum store_entry how);
void cli_leave_owner(void);

#endif
