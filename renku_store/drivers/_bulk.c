/*
 * System calls on many files at a time, without Python's lock: renku_store/drivers/bulk.py says what for.
 *
 * Each function goes through its lists from `start` on, and stops before the first item with which anything is not as
 * usual. It says how far it came; what it stopped at is for Python, which does the same with names for every error.
 */
#define _GNU_SOURCE
#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE (1 << 0)
#endif

/* So many at most: what was held for items beyond the one that it stopped at is in vain, and signals wait meanwhile. */
#define AT_ONCE 1024
/* What is read whole has at most so many bytes. */
#define LARGEST (1 << 20)

/* The bytes of items of a list, from `start` on; `owner` keeps them, whatever becomes of the list. */
typedef struct {
    PyObject *owner;
    const char **at;
    size_t *size;
    Py_ssize_t count;
} Items;

static void let_go(Items *items)
{
    Py_XDECREF(items->owner);
    PyMem_Free((void *)items->at);
    PyMem_Free(items->size);
}

/* 0, or -1 with an exception. A path must be none that ends early at a zero byte. */
static int hold(Items *items, PyObject *list, Py_ssize_t start, int are_paths)
{
    Py_ssize_t length = PyList_Size(list);
    memset(items, 0, sizeof *items);
    if (start < 0 || start > length) {
        PyErr_SetString(PyExc_ValueError, "start lies outside of the list");
        return -1;
    }
    length = length - start > AT_ONCE ? AT_ONCE : length - start;
    items->owner = PyList_GetSlice(list, start, start + length);
    if (items->owner == NULL)
        return -1;
    items->at = PyMem_Calloc(length + 1, sizeof *items->at);
    items->size = PyMem_Calloc(length + 1, sizeof *items->size);
    if (items->at == NULL || items->size == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (; items->count < length; items->count++) {
        char *at;
        Py_ssize_t size = 0;
        if (PyBytes_AsStringAndSize(PyList_GetItem(items->owner, items->count), &at, are_paths ? NULL : &size) < 0)
            return -1;
        items->at[items->count] = at;
        items->size[items->count] = (size_t)size;
    }
    return 0;
}

/* 1 if a new file at `path` holds all of the bytes; else 0, and there is none of its making. */
static int write_one(const char *path, const char *data, size_t size)
{
    int descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    int whole;
    if (descriptor < 0)
        return 0;
    while (size > 0) {
        ssize_t written = write(descriptor, data, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            break;
        data += written;
        size -= (size_t)written;
    }
    whole = size == 0;
    if (close(descriptor) < 0 && errno != EINTR)
        whole = 0;
    if (!whole)
        unlink(path);
    return whole;
}

PyDoc_STRVAR(write_new_doc,
"write_new(paths: list[bytes], contents: list[bytes], start: int) -> int\n\n"
"Make a file for each path, with its content; the index of the first that could not be made, or the length.");

static PyObject *write_new(PyObject *module, PyObject *args)
{
    PyObject *paths, *contents, *answer = NULL;
    Py_ssize_t start, done = 0;
    Items names = {0}, data = {0};
    (void)module;
    if (!PyArg_ParseTuple(args, "O!O!n", &PyList_Type, &paths, &PyList_Type, &contents, &start))
        return NULL;
    if (hold(&names, paths, start, 1) == 0 && hold(&data, contents, start, 0) == 0) {
        if (names.count != data.count) {
            PyErr_SetString(PyExc_ValueError, "there must be as many contents as paths");
        } else {
            Py_BEGIN_ALLOW_THREADS
            while (done < names.count && write_one(names.at[done], data.at[done], data.size[done]))
                done++;
            Py_END_ALLOW_THREADS
            answer = PyLong_FromSsize_t(start + done);
        }
    }
    let_go(&names);
    let_go(&data);
    return answer;
}

PyDoc_STRVAR(rename_new_doc,
"rename_new(sources: list[bytes], targets: list[bytes], start: int) -> int\n\n"
"Rename each file where nothing has the new name; the index of the first that was not renamed, or the length.");

static PyObject *rename_new(PyObject *module, PyObject *args)
{
    PyObject *sources, *targets, *answer = NULL;
    Py_ssize_t start, done = 0;
    Items from = {0}, to = {0};
    (void)module;
    if (!PyArg_ParseTuple(args, "O!O!n", &PyList_Type, &sources, &PyList_Type, &targets, &start))
        return NULL;
    if (hold(&from, sources, start, 1) == 0 && hold(&to, targets, start, 1) == 0) {
        if (from.count != to.count) {
            PyErr_SetString(PyExc_ValueError, "there must be as many targets as sources");
        } else {
            Py_BEGIN_ALLOW_THREADS
            while (done < from.count
                   && renameat2(AT_FDCWD, from.at[done], AT_FDCWD, to.at[done], RENAME_NOREPLACE) == 0)
                done++;
            Py_END_ALLOW_THREADS
            answer = PyLong_FromSsize_t(start + done);
        }
    }
    let_go(&from);
    let_go(&to);
    return answer;
}

typedef struct {
    long long size;
    double modified;
} Seen;

PyDoc_STRVAR(look_doc,
"look(folder: int, names: list[bytes], start: int) -> list[tuple[int, float] | None]\n\n"
"Size and time of change of each regular file below an open folder; None where there is something else, or nothing.\n"
"From the name at `start` on; the list ends before the first that cannot be looked at for another reason.");

static PyObject *look(PyObject *module, PyObject *args)
{
    PyObject *list, *answer = NULL;
    int folder;
    Py_ssize_t start, done = 0;
    Items names = {0};
    Seen *seen = NULL;
    (void)module;
    if (!PyArg_ParseTuple(args, "iO!n", &folder, &PyList_Type, &list, &start))
        return NULL;
    if (hold(&names, list, start, 1) < 0)
        goto end;
    seen = PyMem_Calloc(names.count + 1, sizeof *seen);
    if (seen == NULL) {
        PyErr_NoMemory();
        goto end;
    }
    Py_BEGIN_ALLOW_THREADS
    for (; done < names.count; done++) {
        struct stat status;
        if (fstatat(folder, names.at[done], &status, 0) < 0) {
            if (errno != ENOENT && errno != ENOTDIR)
                break;
            seen[done].size = -1;
        } else {
            seen[done].size = S_ISREG(status.st_mode) ? (long long)status.st_size : -1;
            seen[done].modified = (double)status.st_mtim.tv_sec + 1e-9 * (double)status.st_mtim.tv_nsec;
        }
    }
    Py_END_ALLOW_THREADS
    answer = PyList_New(done);
    for (Py_ssize_t index = 0; answer != NULL && index < done; index++) {
        PyObject *item = seen[index].size < 0 ? Py_NewRef(Py_None)
                                              : Py_BuildValue("(Ld)", seen[index].size, seen[index].modified);
        if (item == NULL)
            Py_CLEAR(answer);
        else
            PyList_SetItem(answer, index, item);
    }
end:
    PyMem_Free(seen);
    let_go(&names);
    return answer;
}

/* The bytes read: of a regular file of at most `limit` bytes, read to its end, and no other; else -1. */
static Py_ssize_t read_one(const char *path, char *into, size_t limit)
{
    struct stat status;
    size_t filled = 0;
    ssize_t count = -1;
    int descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (descriptor < 0)
        return -1;
    if (fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode) && (size_t)status.st_size <= limit) {
        do { /* one byte more than it should have: it may grow */
            count = read(descriptor, into + filled, (size_t)status.st_size + 1 - filled);
            filled += count > 0 ? (size_t)count : 0;
        } while ((count < 0 && errno == EINTR) || (count > 0 && filled < (size_t)status.st_size));
    }
    close(descriptor);
    return count < 0 || filled != (size_t)status.st_size ? -1 : (Py_ssize_t)filled;
}

PyDoc_STRVAR(read_small_doc,
"read_small(paths: list[bytes], limit: int) -> list[bytes | None]\n\n"
"The content of each regular file of at most `limit` bytes; None for any other, and for what cannot be read.");

static PyObject *read_small(PyObject *module, PyObject *args)
{
    PyObject *paths, *answer = NULL;
    Py_ssize_t limit, done = 0, filled = 0, room = 0;
    Items names = {0};
    Py_ssize_t *sizes = NULL;
    char *arena = NULL;
    (void)module;
    if (!PyArg_ParseTuple(args, "O!n", &PyList_Type, &paths, &limit))
        return NULL;
    if (limit < 0 || limit > LARGEST) {
        PyErr_SetString(PyExc_ValueError, "limit must lie between 0 and 1 MiB");
        goto end;
    }
    if (hold(&names, paths, 0, 1) < 0)
        goto end;
    sizes = PyMem_Calloc(names.count + 1, sizeof *sizes);
    if (sizes == NULL) {
        PyErr_NoMemory();
        goto end;
    }
    Py_BEGIN_ALLOW_THREADS
    for (; done < names.count; done++) {
        if (room - filled <= limit) {
            char *larger = realloc(arena, (size_t)(2 * room + limit + 1));
            if (larger == NULL) { /* one by one they may fit */
                sizes[done] = -1;
                continue;
            }
            arena = larger;
            room = 2 * room + limit + 1;
        }
        sizes[done] = read_one(names.at[done], arena + filled, (size_t)limit);
        filled += sizes[done] > 0 ? sizes[done] : 0;
    }
    Py_END_ALLOW_THREADS
    answer = PyList_New(done);
    filled = 0;
    for (Py_ssize_t index = 0; answer != NULL && index < done; index++) {
        PyObject *item = sizes[index] < 0 ? Py_NewRef(Py_None)
                                          : PyBytes_FromStringAndSize(arena + filled, sizes[index]);
        filled += sizes[index] > 0 ? sizes[index] : 0;
        if (item == NULL)
            Py_CLEAR(answer);
        else
            PyList_SetItem(answer, index, item);
    }
end:
    free(arena);
    PyMem_Free(sizes);
    let_go(&names);
    return answer;
}

static PyMethodDef methods[] = {
    {"write_new", write_new, METH_VARARGS, write_new_doc},
    {"rename_new", rename_new, METH_VARARGS, rename_new_doc},
    {"look", look, METH_VARARGS, look_doc},
    {"read_small", read_small, METH_VARARGS, read_small_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_bulk",
    .m_doc = "System calls on many files at a time, without Python's lock.",
    .m_size = 0,
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__bulk(void)
{
    return PyModuleDef_Init(&definition);
}
