/*
 * The store's end of the control socket: newline-delimited JSON requests of the commands (src/cli/control.h), answered from the
 * index. Part of the store role, and called by store.c alone.
 *
 * Who may connect is decided by the socket's file mode: its owner, who is the one that started the server. All the same no
 * request can make the store wait, grow without bound or stop.
 */
#ifndef VEREDUS_ROLES_STORE_ADMIN_H
#define VEREDUS_ROLES_STORE_ADMIN_H

#include "ipc/message.h"

struct store;
struct store_admin;

/* Takes over listen_fd (non-blocking, listening). NULL without memory. Inside the sandbox; needs accept4. */
struct store_admin *store_admin_open(struct store *s, int listen_fd);
/* Messages of the supervisor that belong to commands: ROLE_STATE and RELOADED; others are passed over. */
void store_admin_control(struct store_admin *admin, const struct ipc_type *type, const void *message);
/* Closes everything. Harmless with NULL. Answers of set_password that come later are passed over. */
void store_admin_close(struct store_admin *admin);

#endif
