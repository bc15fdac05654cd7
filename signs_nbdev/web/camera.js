// The camera: a stream in a <video>, and from it one small square at a time.

/** Why there is no picture: "insecure", "denied", "none", "busy" or "failed". */
export class CameraTrouble extends Error {
  constructor(kind) { super(kind); this.kind = kind; }
}

const KINDS = { NotAllowedError: "denied", SecurityError: "denied", NotFoundError: "none", OverconstrainedError: "none",
                NotReadableError: "busy", AbortError: "busy" };

export class Camera {
  /** @param {HTMLVideoElement} video */
  constructor(video) { Object.assign(this, { video, stream: null, canvas: document.createElement("canvas") }); }

  get live() { return this.stream?.active ?? false; }

  /** A camera that faces the user is shown as a mirror would; what is read is never mirrored. */
  get mirrored() { return this.stream?.getVideoTracks()[0].getSettings().facingMode !== "environment"; }

  /** @param {string} [id] of one of `devices()`; the one that faces the user if not given */
  async start(id) {
    this.stop();
    if (!navigator.mediaDevices?.getUserMedia) throw new CameraTrouble(isSecureContext ? "none" : "insecure");
    const wanted = id ? { deviceId: { exact: id } } : { facingMode: "user" };
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ video: { ...wanted, width: { ideal: 640 }, height: { ideal: 480 } } });
      this.stop(); // another may have been started meanwhile
      this.stream = stream;
      this.video.srcObject = this.stream;
      await this.video.play();
    } catch (e) { this.stop(); throw new CameraTrouble(KINDS[e.name] ?? "failed"); }
  }

  stop() {
    this.stream?.getTracks().forEach((o) => o.stop());
    this.stream = this.video.srcObject = null;
  }

  /** @returns {Promise<MediaDeviceInfo[]>} */
  async devices() {
    return (await navigator.mediaDevices.enumerateDevices()).filter((o) => o.kind === "videoinput");
  }

  /** Resolves with the next frame, or after 200 ms where none comes. */
  next() {
    return new Promise((resolve) => {
      this.video.requestVideoFrameCallback?.(resolve);
      setTimeout(resolve, 200);
    });
  }

  /**
   * @param {number} frame   edge of the middle square that is cut out, as a share of the picture's short edge
   * @param {boolean} flip   left for right: a left hand becomes a right one
   * @param {number} size    edge of the result, pixels
   * @returns {Promise<Blob>} JPEG
   */
  grab(frame = 1, flip = false, size = 256) {
    const { videoWidth: w, videoHeight: h } = this.video, side = frame * Math.min(w, h);
    Object.assign(this.canvas, { width: size, height: size });
    const context = this.canvas.getContext("2d");
    if (flip) context.setTransform(-1, 0, 0, 1, size, 0);
    context.drawImage(this.video, (w - side) / 2, (h - side) / 2, side, side, 0, 0, size, size);
    return new Promise((resolve) => this.canvas.toBlob(resolve, "image/jpeg", 0.92));
  }
}
