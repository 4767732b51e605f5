// A small PKCS#11 module for tests, wrong in the ways that the macros name:
//   HANDLE_BASE=n      object handles begin at n
//   BY_NAME            the function list refers to the exported names, which a host's other modules may take over
//   HOLES              most entries of the function list are null
//   NO_LIST, LIST_FAILS, NULL_LIST, OLD_LIST  no C_GetFunctionList, or one that gives nothing usable
//   V3_0, V3_1, V3_2   offers these interfaces
//   WRONG_VERSION      gives its 2.40 list to whoever asks for 3.x
//   NULL_INTERFACE     answers C_GetInterface with CKR_OK and nothing
//   VENDOR_DEFAULT     the default interface is the vendor's own
//   INIT_FAILS         C_Initialize answers CKR_DEVICE_ERROR
//   FORK_AWARE         notices a fork by itself
//   STUBBORN           stays initialised in a child, whatever it is told
//   INERT              almost every function answers CKR_OK and does nothing
//   NO_DIGESTS         signs with CKM_ECDSA only; every object is an EC key
//   GROWING            lists are longer at the second call than at the first
#include <string.h>
#include <unistd.h>

typedef unsigned long U;
typedef unsigned char B;
typedef struct { B major, minor; } Version;
typedef struct { U type; void *value; U length; } Attribute;
typedef struct { U mechanism; void *parameter; U length; } Mechanism;
typedef struct { const char *name; void *list; U flags; } Interface;

#define EXPORT __attribute__((visibility("default")))
#ifndef HANDLE_BASE
#define HANDLE_BASE 1
#endif
#ifndef BY_NAME
#define C_OpenSession open_session
#define C_GenerateRandom generate_random
#endif

enum { OK = 0, GENERAL_ERROR = 5, ARGUMENTS_BAD = 7, DEVICE_ERROR = 0x30, BUFFER_TOO_SMALL = 0x150,
       OBJECT_HANDLE_INVALID = 0x82, NOT_INITIALIZED = 0x190, ALREADY_INITIALIZED = 0x191 };

// For the tests to look at.
EXPORT int backend_initialized, backend_finalized;
EXPORT U backend_object, backend_object2, backend_parameter;

static int ready;
static pid_t owner;
static U next_object = HANDLE_BASE;
static int calls;

static int is_ready(void) {
#ifdef FORK_AWARE
    if (owner != getpid()) ready = 0;
#endif
    return ready;
}

static U initialize(void *args) {
    (void)args;
#ifdef INIT_FAILS
    return DEVICE_ERROR;
#endif
    if (is_ready()) return ALREADY_INITIALIZED;
    ready = 1;
    owner = getpid();
    backend_initialized++;
    return OK;
}

static U finalize(void *reserved) {
    (void)reserved;
    if (!is_ready()) return NOT_INITIALIZED;
#ifdef STUBBORN
    if (owner != getpid()) return GENERAL_ERROR;
#endif
    ready = 0;
    backend_finalized++;
    return OK;
}

static U any(void) { return is_ready() ? OK : NOT_INITIALIZED; }

static U get_slot_list(B present, U *slots, U *count) {
    (void)present;
    U have = 1;
#ifdef GROWING
    have = 1 + calls++;
#endif
    if (!count) return ARGUMENTS_BAD;
    if (slots && *count < have) { *count = have; return BUFFER_TOO_SMALL; }
    if (slots) for (U i = 0; i < have; i++) slots[i] = i + 1;
    *count = have;
    return OK;
}

static U get_mechanism_list(U slot, U *list, U *count) {
    (void)slot;
    U have = 2;
#ifdef GROWING
    have = 2 + (calls++ & 3);
#endif
    if (!count) return ARGUMENTS_BAD;
    if (list && *count < have) { *count = have; return BUFFER_TOO_SMALL; }
    if (list) for (U i = 0; i < have; i++) list[i] = 0x1040 + i;
    *count = have;
    return OK;
}

static U get_function_list(void **list);

EXPORT U C_OpenSession(U slot, U flags, void *application, void *notify, U *session) {
    (void)slot, (void)flags, (void)application, (void)notify;
    if (!is_ready()) return NOT_INITIALIZED;
    if (session) *session = 1;
    return OK;
}

EXPORT U C_GenerateRandom(U session, B *data, U length) {
    (void)session;
    if (!is_ready()) return NOT_INITIALIZED;
    if (data && length <= 4096) memset(data, 4, length);
    return OK;
}

static U create_object(U session, Attribute *template, U count, U *object) {
    (void)session, (void)template, (void)count;
    *object = next_object++;
    return OK;
}

static U copy_object(U session, U object, Attribute *template, U count, U *copy) {
    backend_object = object;
    return create_object(session, template, count, copy);
}

static U use_object(U session, U object) {
    (void)session;
    backend_object = object;
    return object >= HANDLE_BASE && object < next_object ? OK : OBJECT_HANDLE_INVALID;
}

static U use_object_third(U session, void *mechanism, U object) {
    (void)mechanism;
    return use_object(session, object);
}

#ifdef NO_DIGESTS
static U get_attribute(U session, U object, Attribute *template, U count) {
    (void)session, (void)object;
    U ec = 3;
    for (U i = 0; i < count; i++) {
        if (template[i].value) memcpy(template[i].value, &ec, sizeof ec);
        template[i].length = sizeof ec;
    }
    return OK;
}

static U sign_init(U session, Mechanism *mechanism, U object) {
    return mechanism->mechanism == 0x1041 ? use_object(session, object) : 0x70;
}
#else
#define get_attribute use_object
#define sign_init use_object_third
#endif

static U wrap_key(U session, Mechanism *mechanism, U wrapping, U key, B *wrapped, U *length) {
    (void)session, (void)mechanism, (void)wrapped, (void)length;
    backend_object = wrapping;
    backend_object2 = key;
    return OK;
}

static U unwrap_key(U session, Mechanism *mechanism, U unwrapping, B *wrapped, U length, Attribute *template, U count,
                    U *key) {
    (void)mechanism, (void)wrapped, (void)length;
    backend_object = unwrapping;
    return create_object(session, template, count, key);
}

static U derive_key(U session, Mechanism *mechanism, U base, Attribute *template, U count, U *key) {
    backend_object = base;
    backend_parameter = mechanism && mechanism->parameter && mechanism->length == sizeof(U)
                            ? *(U *)mechanism->parameter : 0;
    return key ? create_object(session, template, count, key) : OK;
}

static U generate_key(U session, Mechanism *mechanism, Attribute *template, U count, U *key) {
    (void)mechanism;
    return create_object(session, template, count, key);
}

static U generate_key_pair(U session, Mechanism *mechanism, Attribute *public_template, U public_count,
                           Attribute *private_template, U private_count, U *public_key, U *private_key) {
    (void)mechanism;
    create_object(session, public_template, public_count, public_key);
    return create_object(session, private_template, private_count, private_key);
}

static U find_objects(U session, U *objects, U room, U *count) {
    (void)session;
    U have = next_object - HANDLE_BASE;
    *count = have < room ? have : room;
    for (U i = 0; i < *count; i++) objects[i] = HANDLE_BASE + i;
    return OK;
}

static U set_operation_state(U session, B *state, U length, U encryption_key, U authentication_key) {
    (void)session, (void)state, (void)length;
    backend_object = encryption_key;
    backend_object2 = authentication_key;
    return OK;
}

static U encapsulate_key(U session, Mechanism *mechanism, U public_key, Attribute *template, U count, B *text,
                         U *length, U *key) {
    (void)mechanism;
    backend_object = public_key;
    *length = 1;
    return text ? create_object(session, template, count, key) : OK;
}

#define NONE ((void *)any)
static struct { Version version; void *functions[68]; } list_2_40 = {{2, 40}, {
    initialize, finalize, NONE, get_function_list, get_slot_list, NONE, NONE, get_mechanism_list,
#ifdef INERT
    NONE, NONE, NONE, NONE, C_OpenSession, NONE, NONE, NONE, NONE, NONE, NONE, NONE,
    NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE,
    NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE,
    NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE,
#elif !defined HOLES
    NONE, NONE, NONE, NONE, C_OpenSession, NONE, NONE, NONE, NONE, set_operation_state, NONE, NONE,
    create_object, copy_object, use_object, use_object, get_attribute, use_object, NONE, find_objects, NONE,
    use_object_third, NONE, NONE, NONE, use_object_third, NONE, NONE, NONE,
    NONE, NONE, NONE, use_object, NONE,
    sign_init, NONE, NONE, NONE, use_object_third, NONE,
    use_object_third, NONE, NONE, NONE, use_object_third, NONE,
    NONE, NONE, NONE, NONE,
    generate_key, generate_key_pair, wrap_key, unwrap_key, derive_key,
    NONE, C_GenerateRandom, NONE, NONE, NONE,
#endif
}};

static U get_function_list(void **list) {
#ifdef LIST_FAILS
    return GENERAL_ERROR;
#elif defined NULL_LIST
    *list = 0;
    return OK;
#else
#ifdef OLD_LIST
    list_2_40.version.major = 1;
#endif
    *list = &list_2_40;
    return OK;
#endif
}

#ifndef NO_LIST
EXPORT U C_GetFunctionList(void **list) { return get_function_list(list); }
#endif

#if defined V3_0 || defined V3_1 || defined V3_2 || defined WRONG_VERSION || defined NULL_INTERFACE
static struct { Version version; void *functions[104]; } list_3;

static void *list_of(B minor) {
    static struct { Version version; void *functions[104]; } lists[3];
    memcpy(list_3.functions, list_2_40.functions, sizeof list_2_40.functions);
    for (int i = 68; i < 92; i++) list_3.functions[i] = NONE;
    list_3.functions[72] = list_3.functions[77] = list_3.functions[82] = list_3.functions[87] = use_object_third;
    if (minor >= 2) {
        for (int i = 92; i < 104; i++) list_3.functions[i] = NONE;
#ifndef INERT
        list_3.functions[92] = encapsulate_key;
#endif
        list_3.functions[103] = 0;
    } else {
        // What lies behind a 3.0 list is not a function.
        for (int i = 92; i < 104; i++) list_3.functions[i] = (void *)0xdead;
    }
    list_3.version = (Version){3, minor};
    memcpy(&lists[minor], &list_3, sizeof list_3);
    return &lists[minor];
}

EXPORT U C_GetInterface(B *name, Version *version, Interface **interface, U flags) {
    static Interface interfaces[4] = {{"PKCS 11", 0, 0}, {"PKCS 11", 0, 0}, {"PKCS 11", 0, 0}, {"Vendor", 0, 0}};
    (void)flags;
#ifdef NULL_INTERFACE
    *interface = 0;
    return OK;
#endif
#ifdef WRONG_VERSION
    interfaces[0].list = &list_2_40;
    *interface = &interfaces[0];
    return OK;
#endif
#ifdef VENDOR_DEFAULT
    if (!name) {
        interfaces[3].list = &list_2_40;
        *interface = &interfaces[3];
        return OK;
    }
#endif
    (void)name;
    int offered[3] = {0, 0, 0};
#ifdef V3_0
    offered[0] = 1;
#endif
#ifdef V3_1
    offered[1] = 1;
#endif
#ifdef V3_2
    offered[2] = 1;
#endif
    for (B minor = 0; minor < 3; minor++)
        if (offered[minor] && (!version || (version->major == 3 && version->minor == minor))) {
            interfaces[minor].list = list_of(minor);
            *interface = &interfaces[minor];
            return OK;
        }
    return ARGUMENTS_BAD;
}
#endif
