/* Whole files and folders, on a temporary folder of the real file system. */
#include "test.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/file.h"
#include "fault.h"

static void put(const char *path, const void *data, size_t n)
{
    struct snug_error err;
    assert_ok(snug_file_write(path, data, n, &err));
}

static void assert_content(const char *path, const char *want)
{
    struct snug_error err;
    char *text = NULL;
    size_t n = 0;
    assert_ok(snug_file_read(path, 1 << 20, &text, &n, &err));
    assert_int_equal(n, strlen(want));
    assert_string_equal(text, want);
    free(text);
}

static int count_entries(const char *path)
{
    int n = 0;
    DIR *folder = opendir(path);
    assert_non_null(folder);
    while (readdir(folder))
        n++;
    closedir(folder);
    return n - 2; /* . and .. */
}

static void read_written_file_gives_it_back(void **state)
{
    struct snug_error err;
    const char *path = test_path(state, "f");
    static const size_t SIZES[] = {0, 1, 4095, 4096, 4097, 8192, 100000};
    for (size_t i = 0; i < COUNT(SIZES); i++) {
        size_t n = SIZES[i], n_read = 1;
        char *data = malloc(n + 1), *text = NULL;
        assert_non_null(data);
        for (size_t k = 0; k < n; k++)
            data[k] = (char)(k * 7);
        put(path, data, n);
        assert_ok(snug_file_read(path, 1 << 20, &text, &n_read, &err));
        assert_int_equal(n_read, n);
        assert_memory_equal(text, data, n);
        assert_int_equal(text[n], 0);
        free(text);
        free(data);
    }
}

static void read_size_is_capped(void **state)
{
    struct snug_error err;
    const char *path = test_path(state, "f");
    static const size_t CAPS[] = {0, 10, 4095, 4096, 4097, 10000};
    static const char data[10001];
    for (size_t i = 0; i < COUNT(CAPS); i++) {
        char *text = NULL;
        size_t n = 0;
        put(path, data, CAPS[i]); /* at the cap */
        assert_ok(snug_file_read(path, CAPS[i], &text, &n, &err));
        assert_int_equal(n, CAPS[i]);
        free(text);
        text = NULL;
        put(path, data, CAPS[i] + 1); /* cap + 1 */
        assert_fails(SNUG_BAD_INPUT, snug_file_read(path, CAPS[i], &text, &n, &err));
        assert_null(text);
        assert_contains(err.text, path);
    }
}

static void read_without_cap_does_not_overflow(void **state)
{
    struct snug_error err;
    const char *path = test_path(state, "f");
    char *text = NULL;
    put(path, "abc", 3);
    assert_ok(snug_file_read(path, SIZE_MAX, &text, NULL, &err));
    assert_string_equal(text, "abc");
    free(text);
}

static void read_proc_file_without_size_is_whole(void **state)
{
    (void)state;
    struct snug_error err;
    char *text = NULL;
    assert_ok(snug_file_read("/proc/self/status", 1 << 20, &text, NULL, &err));
    assert_contains(text, "VmRSS:");
    free(text);
}

static void read_absent_file_is_not_found(void **state)
{
    struct snug_error err;
    char *text = NULL;
    assert_fails(SNUG_NOT_FOUND, snug_file_read(test_path(state, "no"), 10, &text, NULL, &err));
    put(test_path(state, "f"), "", 0);
    assert_fails(SNUG_NOT_FOUND, snug_file_read(test_path(state, "f/g"), 10, &text, NULL, &err));
    assert_null(text);
}

static void read_folder_is_an_error(void **state)
{
    struct snug_error err;
    char *text = NULL;
    assert_fails(SNUG_IO, snug_file_read(*state, 10, &text, NULL, &err));
    assert_contains(err.text, "directory");
}

static void read_below_joins_root_and_path(void **state)
{
    struct snug_error err;
    char *text = NULL;
    put(test_path(state, "f"), "x", 1);
    assert_ok(snug_file_read_below(*state, "/f", 10, &text, NULL, &err));
    assert_string_equal(text, "x");
    free(text);
    char slash[512];
    snprintf(slash, sizeof slash, "%s//", (const char *)*state);
    assert_ok(snug_file_read_below(slash, "/f", 10, &text, NULL, &err));
    free(text);
    assert_ok(snug_file_read_below("/", "/proc/self/comm", 99, &text, NULL, &err));
    free(text);
    assert_ok(snug_file_read_below("", "/proc/self/comm", 99, &text, NULL, &err));
    free(text);
}

static void read_below_never_leaves_the_root(void **state)
{
    struct snug_error err;
    char *text = NULL;
    static const char *const ROWS[] = {"f", "", "/..", "/../f", "/a/../../f", "/a/.."};
    for (size_t i = 0; i < COUNT(ROWS); i++)
        assert_fails(SNUG_BAD_INPUT, snug_file_read_below(*state, ROWS[i], 10, &text, NULL, &err));
    put(test_path(state, "..f"), "x", 1); /* a name may begin with dots */
    assert_ok(snug_file_read_below(*state, "/..f", 10, &text, NULL, &err));
    free(text);
}

static void write_replaces_and_leaves_no_other_file(void **state)
{
    const char *path = test_path(state, "f");
    put(path, "a longer first content", 22);
    put(path, "second", 6);
    assert_content(path, "second");
    assert_int_equal(count_entries(*state), 1);
}

static void write_over_a_stale_temporary_is_whole(void **state)
{
    char temp[600];
    const char *path = test_path(state, "f");
    snprintf(temp, sizeof temp, "%s.tmp%ld", path, (long)gettid());
    put(temp, "left by a process of this number that was killed", 48);
    put(path, "new", 3);
    assert_content(path, "new");
    assert_int_equal(count_entries(*state), 1);
}

static void write_keeps_an_open_reader_on_the_old_file(void **state)
{
    const char *path = test_path(state, "f");
    char text[4] = {0};
    put(path, "old", 3);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    put(path, "new", 3);
    assert_int_equal(read(fd, text, 3), 3);
    assert_string_equal(text, "old");
    close(fd);
}

static void write_without_room_keeps_the_old_file(void **state)
{
    struct snug_error err;
    const char *path = test_path(state, "f");
    static const char big[65536];
    put(path, "old", 3);
    /* A file size limit stops write(2) half-way, as a full disk does. */
    struct rlimit old, low;
    getrlimit(RLIMIT_FSIZE, &old);
    low = old;
    low.rlim_cur = 5000;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &low);
    snug_status status = snug_file_write(path, big, sizeof big, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(status, SNUG_IO);
    assert_contains(err.text, path);
    assert_content(path, "old");
    assert_int_equal(count_entries(*state), 1);
}

static void write_into_absent_folder_is_not_found(void **state)
{
    struct snug_error err;
    assert_fails(SNUG_NOT_FOUND, snug_file_write(test_path(state, "no/f"), "x", 1, &err));
}

static void write_over_a_folder_is_refused(void **state)
{
    struct snug_error err;
    assert_fails(SNUG_IO, snug_file_write(*state, "x", 1, &err));
    assert_contains(err.text, "is a folder");
    assert_int_equal(count_entries(*state), 0);
}

static void write_through_a_link_keeps_the_link(void **state)
{
    const char *path = test_path(state, "f"), *link = test_path(state, "link");
    struct stat info;
    put(path, "old", 3);
    assert_int_equal(symlink("f", link), 0);
    put(link, "new", 3);
    assert_content(path, "new");
    assert_int_equal(lstat(link, &info), 0);
    assert_true(S_ISLNK(info.st_mode));
}

static void write_keeps_a_private_file_private(void **state)
{
    const char *path = test_path(state, "f");
    struct stat info;
    put(path, "old", 3);
    assert_int_equal(chmod(path, 0600), 0);
    put(path, "new", 3);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
}

static void write_to_a_device_does_not_replace_it(void **state)
{
    (void)state;
    struct snug_error err;
    struct stat info;
    put("/dev/null", "x", 1);
    assert_int_equal(stat("/dev/null", &info), 0);
    assert_true(S_ISCHR(info.st_mode));
    assert_fails(SNUG_IO, snug_file_write("/dev/full", "x", 1, &err));
}

static void make_folder_makes_all_parents(void **state)
{
    struct snug_error err;
    const char *path = test_path(state, "a//b/c/");
    assert_ok(snug_file_make_folder(path, &err));
    assert_ok(snug_file_make_folder(path, &err)); /* again is fine */
    put(test_path(state, "a/b/c/f"), "x", 1);
    assert_ok(snug_file_make_folder("/", &err));
    assert_ok(snug_file_make_folder("/proc", &err)); /* exists, although mkdir may not */
}

static void make_folder_over_a_file_is_refused(void **state)
{
    struct snug_error err;
    put(test_path(state, "f"), "x", 1);
    assert_fails(SNUG_IO, snug_file_make_folder(test_path(state, "f"), &err));
    assert_contains(err.text, "is not a folder");
    assert_fails(SNUG_IO, snug_file_make_folder(test_path(state, "f/g"), &err));
    assert_fails(SNUG_BAD_INPUT, snug_file_make_folder("", &err));
}

static void xdg_folders_follow_the_environment(void **state)
{
    (void)state;
    struct snug_error err;
    char path[64] = "";
    setenv("HOME", "/home/u", 1);
    setenv("XDG_DATA_HOME", "/data", 1);
    unsetenv("XDG_CACHE_HOME");
    assert_ok(snug_file_data_folder(path, sizeof path, &err));
    assert_string_equal(path, "/data/snug");
    assert_ok(snug_file_cache_folder(path, sizeof path, &err));
    assert_string_equal(path, "/home/u/.cache/snug");
    setenv("XDG_DATA_HOME", "relative", 1); /* the specification says: ignore */
    assert_ok(snug_file_data_folder(path, sizeof path, &err));
    assert_string_equal(path, "/home/u/.local/share/snug");
    assert_ok(snug_file_data_folder(path, strlen("/home/u/.local/share/snug") + 1, &err));
    assert_fails(SNUG_BAD_INPUT,
                 snug_file_data_folder(path, strlen("/home/u/.local/share/snug"), &err));
    unsetenv("HOME");
    assert_fails(SNUG_NOT_FOUND, snug_file_data_folder(path, sizeof path, &err));
    assert_contains(err.text, "XDG_DATA_HOME");
}

static void file_without_memory_fails_cleanly(void **state)
{
    struct snug_error err = {0};
    const char *path = test_path(state, "f");
    static const char data[20000];
    long n = 0;
    for (;; n++) {
        char *text = NULL;
        fault_begin(n);
        snug_status status = snug_file_write(path, data, sizeof data, &err);
        if (status == SNUG_OK)
            status = snug_file_read_below("/", path, sizeof data, &text, NULL, &err);
        bool is_hit = fault_end();
        assert_int_equal(status, is_hit ? SNUG_NO_MEMORY : SNUG_OK);
        assert_true((text == NULL) == is_hit);
        free(text);
        assert_true(count_entries(*state) <= 1);
        if (!is_hit)
            break;
    }
    assert_true(n >= 3);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, test_folder_open, test_folder_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(read_written_file_gives_it_back),
        IN_FOLDER(read_size_is_capped),
        IN_FOLDER(read_without_cap_does_not_overflow),
        IN_FOLDER(read_proc_file_without_size_is_whole),
        IN_FOLDER(read_absent_file_is_not_found),
        IN_FOLDER(read_folder_is_an_error),
        IN_FOLDER(read_below_joins_root_and_path),
        IN_FOLDER(read_below_never_leaves_the_root),
        IN_FOLDER(write_replaces_and_leaves_no_other_file),
        IN_FOLDER(write_over_a_stale_temporary_is_whole),
        IN_FOLDER(write_keeps_an_open_reader_on_the_old_file),
        IN_FOLDER(write_without_room_keeps_the_old_file),
        IN_FOLDER(write_into_absent_folder_is_not_found),
        IN_FOLDER(write_over_a_folder_is_refused),
        IN_FOLDER(write_through_a_link_keeps_the_link),
        IN_FOLDER(write_keeps_a_private_file_private),
        IN_FOLDER(write_to_a_device_does_not_replace_it),
        IN_FOLDER(make_folder_makes_all_parents),
        IN_FOLDER(make_folder_over_a_file_is_refused),
        IN_FOLDER(xdg_folders_follow_the_environment),
        IN_FOLDER(file_without_memory_fails_cleanly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
