"""Reads signs from pictures, and says honestly how well: hands of the manual alphabet, characters of ancient oracle bones.

There are four ways in.

A terminal:

    signs predict photo.jpg
    signs train dataset=folder data_root=my_pictures
    signs --help

Python:

    from signs_nbdev.reader import Reader, find_model
    reader = Reader(find_model("hands"))
    [reading] = reader.read("photo.jpg")
    print(reading.label, reading.probability, "not sure" if reading.unknown else "")

A page in the browser, or the same by HTTP:

    signs demo
    signs serve hands bones --port 8000

The notebooks, for each room of this package was written as one, which tells why it is as it is, shows what it does and tests
it. `make notebooks` opens them in a clone; https://signs-nbdev.github.io/signs_nbdev/ shows them to everybody.

These are the rooms, from the ground up. Each imports only from those before it, and help(signs_nbdev.reader) tells what is in
one, after `import signs_nbdev.reader`. Those with a * come with `pip install signs_nbdev`; `signs_nbdev[serve]` adds what
serving needs, `signs_nbdev[train]` PyTorch and all else.

    Ground        core* machine pictures* cache download
    Data          data prepare sources hands render sessions oracle leaks statistics cutouts
    Augmentation  augment draws passes fused scenes audit ablation expand
    Models        cnn models weights
    Training      checkpoint optimize config loop train
    Evaluation    metrics page evaluate robust explain calibrate unknown report paired
    Export        drift* export reader* card certify
    Serving       engine* guard observe serve
    Runs          runs sweep
    Command line  cli* cli_predict* cli_train* cli_runs* cli_serve*
"""
__version__ = "0.1.0"
