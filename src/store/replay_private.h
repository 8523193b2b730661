/* What the files that replay events share. Nobody else includes this. */
#ifndef VEREDUS_STORE_REPLAY_PRIVATE_H
#define VEREDUS_STORE_REPLAY_PRIVATE_H

#include "store/events.h"

/* An event about mailboxes, subscriptions, flags or expunged messages, within a transaction. 0, or -1. */
int replay_mailbox_event(struct index *index, const struct index_event *event);
/* When all has been replayed: counts what is in each mailbox, and each account's modification sequence. 0, or -1. */
int replay_count_mailboxes(struct index *index);

#endif
