/*
 * smtpd's side of the log: segments given by the store, batches, and the helper thread that writes and flushes them. The loop
 * fills one batch while the thread writes the other (DESIGN.md, "The hot path").
 */
#ifndef VEREDUS_ROLES_LOG_WRITER_H
#define VEREDUS_ROLES_LOG_WRITER_H

#include "base/loop.h"
#include "roles/role.h"
#include "store/batch.h"

struct log_writer;

/* Where a record lies, if it was stored. */
struct log_place {
    uint64_t segment;
    uint64_t offset;
};

/* `done` is called once for each record added, in order, with its owner. NULL without memory. */
struct log_writer *log_writer_new(struct role *role, void (*done)(void *owner, enum batch_result result,
                                                                  const struct log_place *place));
/* Inside the sandbox: starts the thread. 0, or -1. */
int log_writer_start(struct log_writer *writer);
/* False: the disk is full, as the store says. */
bool log_writer_accepts(const struct log_writer *writer);
/* Adds a message's record, with its summary, to the batch that goes out at the end of this pass. False: no room or no memory. */
bool log_writer_add(struct log_writer *writer, struct record_header *header, struct str envelope,
                    struct str trace, struct str body, void *owner);
/* Messages of the store (proto_log.h); takes over fd. True if it was one of the log's. */
bool log_writer_message(struct log_writer *writer, const struct ipc_type *type, const void *message, int fd);
/* The store is new: what it may not have heard of is told again. */
void log_writer_store_up(struct log_writer *writer);
/* Whether records are on their way. */
bool log_writer_busy(const struct log_writer *writer);

#endif
