/* Locks of the index: one that could not be given back at once keeps no other process out. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned unlocks; /* until the one that fails; 0: none does */
static unsigned failed;

/* SQLite calls it as fcntl(), with a struct flock where locks are meant. */
static int interrupted_fcntl(int fd, int command, struct flock *lock)
{
    if (command == F_SETLK && lock->l_type == F_UNLCK && unlocks > 0 && --unlocks == 0) {
        failed++;
        errno = EINTR;
        return -1;
    }
    return fcntl(fd, command, lock);
}

static int read_in_another_process(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct buf errors = buf_make(1024);
        struct index *index = index_open("index.db", false, &errors);
        int64_t value = 0;
        _exit(index != NULL && index_meta_get(index, "written", 0, &value) == 0 && value > 0 ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void test_an_unlock_that_is_interrupted(void **state)
{
    (void)state;
    sqlite3_vfs *vfs = sqlite3_vfs_find("unix");
    assert_non_null(vfs);
    for (unsigned k = 1; k <= 12; k++) {
        struct fixture f;
        fixture_open(&f, "");
        failed = 0;
        assert_int_equal(vfs->xSetSystemCall(vfs, "fcntl", (sqlite3_syscall_ptr)(uintptr_t)interrupted_fcntl),
                         SQLITE_OK);
        unlocks = k;
        for (int i = 1; i <= 6; i++) {
            assert_int_equal(index_begin(f.index), 0);
            assert_int_equal(index_meta_set(f.index, "written", i), 0);
            assert_int_equal(index_commit(f.index), 0);
            index_checkpoint(f.index);
        }
        unlocks = 0;
        vfs->xSetSystemCall(vfs, "fcntl", NULL);
        assert_int_equal(failed, 1);
        assert_int_equal(read_in_another_process(), 0);
        fixture_close(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_an_unlock_that_is_interrupted)};
    return cmocka_run_group_tests_name("locks", tests, NULL, NULL);
}
