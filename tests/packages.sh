# Sourced by the stages that need packages of pip and npm: pinned, with hashes, and no scripts of
# theirs run, so that nothing comes from anywhere but the registries.

# python_packages LISTS HOME: a virtual environment at HOME/python.
python_packages() {
  python3 -m venv --clear "$2/python" &&
    timeout 300 "$2/python/bin/pip" install --quiet --disable-pip-version-check --no-input \
      --require-hashes --only-binary :all: -r "$1/requirements.txt"
}

# node_packages LISTS HOME: HOME/node/node_modules.
node_packages() {
  rm -rf "$2/node" && mkdir -p "$2/node" &&
    cp "$1/package.json" "$1/package-lock.json" "$2/node" &&
    timeout 300 npm ci --prefix "$2/node" --ignore-scripts --no-audit --no-fund --silent
}

# once INSTALL LIST LISTS HOME: installs, unless what LIST says is there already.
once() {
  local install=$1 list=$3/$2 home=$4
  local mark=$home/$install.list
  cmp -s "$list" "$mark" && return
  mkdir -p "$home" && "$install" "$3" "$home" && cp "$list" "$mark"
}
