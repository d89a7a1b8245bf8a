/* Tells a free-threaded interpreter that the extension module which includes this needs no GIL. Else the interpreter
 * would turn the GIL on when it loads the module. Included ahead of the init function that cffi generates, which returns
 * what _cffi_init() has made. */
#ifndef SHAREDMMAP_MODULE_H
#define SHAREDMMAP_MODULE_H
#ifdef Py_GIL_DISABLED

static PyObject *without_gil(PyObject *module)
{
    if (module != NULL)
        PyUnstable_Module_SetGIL(module, Py_MOD_GIL_NOT_USED);
    return module;
}

#define _cffi_init(name, version, context) without_gil(_cffi_init(name, version, context))

#endif
#endif
