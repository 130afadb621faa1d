import os

# GitPython ends its own import where there is no git; ours says so in one line, where it is needed (runner.py).
os.environ["GIT_PYTHON_REFRESH"] = "quiet"
