# Sourced by the other scripts, from the repository's root: a Python environment that has what the given requirement files
# ask for. An active environment (virtual or conda) is used as it is, else .venv is made; only what is missing is installed.

say() { printf '[setup] %s\n' "$*" >&2; }

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 2
}

# Prints the first Python that is new enough and can make environments.
find_python() {
    local candidate
    for candidate in python3 python3.13 python3.12 python3.11 python3.10 python; do
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    fail "no Python 3.10 or newer with the modules venv and ensurepip is on the PATH; install one (on Debian and Ubuntu: apt install python3 python3-venv)"
}

constraints=()  # on what is installed

activate_environment() {
    if [[ -n "${VIRTUAL_ENV:-}" || -n "${CONDA_PREFIX:-}" ]]; then
        python -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
            fail "the active environment has $(python --version); Python 3.10 or newer is needed"
        python -m pip --version >/dev/null 2>&1 || python -m ensurepip >/dev/null 2>&1 ||
            fail "the active environment has no pip; add it, or deactivate the environment to have .venv made"
        return
    fi
    if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        local found
        found=$(find_python)
        say "making .venv with $("$found" --version)"
        "$found" -m venv --clear .venv
    fi
    # shellcheck disable=SC1091
    source .venv/bin/activate
    constraints=(--constraint scripts/constraints.txt)
}

# The packages for the CPU only are a tenth of the size; where their index cannot be reached, pip does without.
torch_index() {
    local url=https://download.pytorch.org/whl/cpu
    if command -v nvidia-smi >/dev/null || [[ "$(uname -s)" != Linux ]] || python -c 'import torch' 2>/dev/null; then
        return
    fi
    if python -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=3)' "$url/torch/" 2>/dev/null; then
        echo --extra-index-url "$url"
    fi
}

# install_requirements FILE...: what the files name and the environment lacks.
install_requirements() {
    local wanted=(${constraints[@]+"${constraints[@]}"}) file
    for file in "$@"; do
        wanted+=(--requirement "$file")
    done
    # Without an index or a folder to take packages from, pip succeeds where nothing is missing, and asks no network.
    if PIP_CONFIG_FILE=/dev/null python -m pip --isolated install --quiet --no-index "${wanted[@]}" >/dev/null 2>&1; then
        return
    fi
    say "installing what is missing of $* into $(python -c 'import sys; print(sys.prefix)'); PyTorch is large and takes minutes"
    # shellcheck disable=SC2046
    python -m pip install -qq --disable-pip-version-check $(torch_index) "${wanted[@]}" </dev/null ||
        fail "pip could not install what $* name; its messages are above"
    # The build of OpenCV with windows, which `trackers` brings, needs libraries that servers lack.
    python -c 'import cv2' 2>/dev/null ||
        python -m pip install -qq --disable-pip-version-check --force-reinstall --no-deps opencv-python-headless </dev/null ||
        fail "OpenCV cannot be imported, and opencv-python-headless could not be installed in its place"
    python -c 'import torchvision' ||
        fail "torch and torchvision do not fit together; scripts/constraints.txt names a pair that does, and without an active environment it is installed into .venv"
}

# The command `dygait`, for whoever uses the environment afterwards: this folder, editable. No network is asked where the
# environment can build packages; the scripts themselves do without the command.
install_command() {
    if [[ -x "$(python -c 'import sysconfig; print(sysconfig.get_path("scripts"))')/dygait" ]]; then
        return
    fi
    local options=(--quiet --disable-pip-version-check --no-deps --editable .)
    if PIP_CONFIG_FILE=/dev/null python -m pip --isolated install --no-index --no-build-isolation "${options[@]}" >/dev/null 2>&1 ||
        PIP_RETRIES=1 PIP_DEFAULT_TIMEOUT=10 python -m pip install "${options[@]}" </dev/null >/dev/null 2>&1; then
        say "the command dygait is in $(python -c 'import sys; print(sys.prefix)')"
    else
        say "the command dygait could not be installed (pip install -e .); python lib/main.py works without"
    fi
}

# On continuous integration only, never on somebody's machine: the browser in which reports are tested, where it can be
# had without a password. Without it those tests are skipped.
install_browser() {
    if [[ "${CI:-}" != true ]] || command -v chromedriver >/dev/null; then
        return
    fi
    if [[ "$(id -u)" != 0 ]] || ! command -v apt-get >/dev/null; then
        say "no chromedriver, and no apt-get as root to install it: reports are not tested in a browser"
        return
    fi
    say "installing chromium, in which reports are tested"
    DEBIAN_FRONTEND=noninteractive timeout --kill-after=10 240 bash -c \
        'apt-get -qq update && apt-get -qq install -y --no-install-recommends chromium chromium-driver' \
        </dev/null >/dev/null 2>&1 || say "chromium could not be installed: reports are not tested in a browser"
}
