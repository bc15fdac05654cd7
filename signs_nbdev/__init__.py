"""Reads signs from pictures, and says honestly how well: hands of the manual alphabet, characters of ancient oracle bones.

Two models come with the package. In a terminal:

    signs predict photo.jpg
    signs demo
    signs --help

`signs demo` opens a page for camera, drawing pad and pictures, `signs serve` offers it to others,
with an HTTP API; for these two, `pip install 'signs_nbdev[serve]'`. In Python:

    from signs_nbdev.reader import Reader

    [reading] = Reader("hands").read("photo.jpg")
    print(reading.label, reading.probability, "not sure" if reading.unknown else "")

Models of your own are trained, judged and exported after `pip install 'signs_nbdev[export]'`:

    signs train dataset=folder data_root=my_pictures out=runs/mine
    signs evaluate runs/mine --root my_pictures
    signs export runs/mine --root my_pictures
    signs predict --model runs/mine photo.jpg

These are the rooms, from the ground up: each imports only from those before it. After
`import signs_nbdev.reader`, say, help(signs_nbdev.reader) tells what is in one. Those with a *
need only what the package itself brings.

    Ground
      core*         labels, errors, progress, atomic files
      machine       seeds, devices, precision, memory, provenance
      pictures*     from a file to its pixels, for training and serving alike
      cache         decoded once, whole or absent: 87,000 photos as one mapped array
      download      resumed and checked downloads, archives that are not trusted
    Data
      data          pictures with their origin, splits that know whether they leak
      prepare       one picture to model input, as tensor operations: photos and raw scans
      sources       the known data sets, any folder or zip of classes
      hands         the manual alphabet as poses of a skeleton
      render        skin, light and camera
      sessions      the embedded data set: signers filmed in rooms, and what it is good for
      asl           the ASL Alphabet: one film of 87,000 frames, by clip and frame
      oracle        Oracle-MNIST, as published and from its raw scans
      leaks         near-copies across a split, found by looking
      statistics    what is in a data set, in numbers, plots and pictures, and how two differ
      cutouts       hands cut out of their film
    Augmentation
      augment       recipes of Kornia operations, each with its reason and its picture
      draws         random numbers that depend on seed, epoch and picture only
      passes        all warps in one, all light in one, equal to Kornia
      fused         a recipe as one fast function, and what the model saw, replayed
      scenes        cut-out hands laid over other scenes, and brought near
      audit         which changes turn one sign into another, and how far a recipe may go
      ablation      what each operation is worth on photographs
      expand        augmented data sets on disk
    Models
      cnn           our own networks, whose layers, strides and paddings can be turned one by one
      models        any timm network for these pictures, saved without pickle
      weights       pretrained weights, frozen layers, layers that learn slower
    Training
      checkpoint    all state of a training in one file
      optimize      optimizers, schedules, and how to find a learning rate
      config        all that decides a run, checked before any work
      loop          a training that takes steps and can go on at any of them
      train         the notebook that papermill runs
    Evaluation
      metrics       metrics with their uncertainty: intervals, pairs, groups, along the film
      page          pages that need nothing else
      evaluate      how good a model or a run is, and on whose pictures
      robust        corruptions at five severities
      explain       where a model looks, whom it mistakes, which pictures are neighbours
      calibrate     probabilities that mean what they say
      unknown       when to say "I don't know"
      report        the honest report of a run, as one page
      paired        two models on the same pictures
    Export
      drift*        are the pictures still like those it was trained on?
      export        one graph: raw pixels in; sign, doubt and evidence out
      reader*       a picture in, a sign out, without torch
      card          what a file says to programs and to people
      certify       the file beside PyTorch, picture by picture
    Serving
      engine*       many requests in turns, models replaced meanwhile
      guard         what can go wrong with an upload, and what stops it
      observe       metrics, drift and logs
      serve         the HTTP API
    Runs
      runs          all runs in a table, compared, made again
      sweep         a search over parameters that can be stopped
    Command line
      cli*          the signs command
      cli_predict*  signs predict
      cli_train*    signs train, data and sweep
      cli_runs*     signs evaluate, runs and export
      cli_serve*    signs serve and demo

Each room was written as a notebook, which tells why it is as it is, shows what it does and
tests it. Go on there: https://signs-nbdev.github.io/signs_nbdev/ has them as pages, and
`make notebooks` opens them in a clone.
"""
__version__ = "0.1.0"
