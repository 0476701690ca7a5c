// NVRTC by g++: what it gives for a cubin is a shared library of the host's, which compile.py makes of the source.
// CuPy keeps it on disk as it keeps a cubin.

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern char **environ;

namespace {

enum { SUCCESS = 0, COMPILATION = 6, NAME_EXPRESSION = 10 };

struct Program {
    std::string source, log, made;
};

std::string contents(const std::string &path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

bool compiles(const std::string &folder, int number, const char *const *options) {
    std::string source = folder + "/source", made = folder + "/made", log = folder + "/log";
    std::vector<const char *> command = {PYTHON, "-SE", COMPILER, HEADERS, source.c_str(), made.c_str()};
    command.insert(command.end(), options, options + number);
    command.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, log.c_str(), O_CREAT | O_WRONLY, 0600);
    pid_t process;
    int error = posix_spawn(&process, PYTHON, &actions, nullptr, const_cast<char *const *>(command.data()), environ);
    posix_spawn_file_actions_destroy(&actions);
    int status = 1;
    return !error && waitpid(process, &status, 0) == process && status == 0;
}

int compile(Program &program, int number, const char *const *options) {
    if (program.source.find_first_not_of(" \n") == std::string::npos) {  // CuPy asks so for what the compiler is
        program.made = "// g++ in NVRTC's place\n";
        return SUCCESS;
    }
    char folder[] = "/tmp/chainrule-nvrtc-XXXXXX";
    if (!mkdtemp(folder)) return COMPILATION;
    std::string in = folder;
    std::ofstream(in + "/source") << program.source;
    bool done = compiles(in, number, options);
    program.made = contents(in + "/made"), program.log = contents(in + "/log");
    for (const char *name : {"/source", "/made", "/log"}) unlink((in + name).c_str());
    rmdir(folder);
    return done ? SUCCESS : COMPILATION;
}

}  // namespace

extern "C" {

const char *nvrtcGetErrorString(int error) { return error == COMPILATION ? "NVRTC_ERROR_COMPILATION" : "NVRTC_ERROR"; }
int nvrtcVersion(int *major, int *minor) { return *major = 13, *minor = 0, SUCCESS; }
int nvrtcGetNumSupportedArchs(int *number) { return *number = 1, SUCCESS; }
int nvrtcGetSupportedArchs(int *supported) { return *supported = 90, SUCCESS; }
int nvrtcCreateProgram(void **made, const char *source, const char *, int, const char *const *, const char *const *) {
    return *made = new Program{source, "", ""}, SUCCESS;
}
int nvrtcDestroyProgram(void **program) { return delete static_cast<Program *>(*program), SUCCESS; }
int nvrtcCompileProgram(void *program, int number, const char *const *options) {
    return compile(*static_cast<Program *>(program), number, options);
}
int nvrtcGetPTXSize(void *program, size_t *size) {
    return *size = static_cast<Program *>(program)->made.size() + 1, SUCCESS;
}
int nvrtcGetPTX(void *program, char *to) {
    const std::string &made = static_cast<Program *>(program)->made;
    return std::memcpy(to, made.c_str(), made.size() + 1), SUCCESS;
}
int nvrtcGetCUBINSize(void *program, size_t *size) {
    return *size = static_cast<Program *>(program)->made.size(), SUCCESS;
}
int nvrtcGetCUBIN(void *program, char *to) {
    const std::string &made = static_cast<Program *>(program)->made;
    return std::memcpy(to, made.data(), made.size()), SUCCESS;
}
int nvrtcGetProgramLogSize(void *program, size_t *size) {
    return *size = static_cast<Program *>(program)->log.size() + 1, SUCCESS;
}
int nvrtcGetProgramLog(void *program, char *to) {
    const std::string &log = static_cast<Program *>(program)->log;
    return std::memcpy(to, log.c_str(), log.size() + 1), SUCCESS;
}
int nvrtcAddNameExpression(void *, const char *) { return NAME_EXPRESSION; }
int nvrtcGetLoweredName(void *, const char *, const char **) { return NAME_EXPRESSION; }

}  // extern "C"
