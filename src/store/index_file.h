/*
 * The files of the index as SQLite sees them: its own file layer, with two differences. Names stay relative to the working
 * directory, because the store's directory may lie below one that its user cannot pass through; and a table of calls can watch
 * and fail what is done to them (base/io.h), for the tests of power loss and of a full disk.
 */
#ifndef VEREDUS_STORE_INDEX_FILE_H
#define VEREDUS_STORE_INDEX_FILE_H

#include "base/io.h"

/* Registers the file layer with SQLite, once; its name for sqlite3_open_v2. */
const char *index_file_layer(void);
/* For tests: the table that is asked from now on; NULL: none. */
void index_file_watch(const struct io *io);

#endif
